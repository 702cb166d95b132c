#pragma once

// A bounded pool of registered memory. docs/memory.md tells how it is laid out.

#include <penstock/core/error.hpp>
#include <penstock/fabric/memory.hpp>
#include <penstock/memory/local_buffer.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace penstock::memory {

class arena;
class free_blocks;
class memory_pool;
struct block;

/// Memory of the pool, returned to it by the destructor, on any thread. The pool must outlive it.
/// Give it back, or quarantine it, only when nobody can touch it any more: after the completion of what used it.
class buffer {
public:
    buffer() = default;
    buffer(buffer&& other) noexcept;
    buffer& operator=(buffer&& other) noexcept;
    ~buffer();

    explicit operator bool() const noexcept { return pool_ != nullptr; }
    std::span<std::byte> bytes() const noexcept { return view_.bytes(); }
    std::byte* data() const noexcept { return view_.data(); }
    std::size_t size() const noexcept { return view_.size(); }

    const local_buffer& slice() const noexcept { return view_; }
    local_buffer slice(std::size_t offset, std::size_t length) const { return view_.slice(offset, length); }
    operator local_buffer() const noexcept { return view_; } // NOLINT(google-explicit-constructor): all of it

private:
    friend class memory_pool;
    buffer(memory_pool& pool, block& home, local_buffer view) noexcept;

    memory_pool* pool_ = nullptr;
    block* block_ = nullptr;
    local_buffer view_{};
};

struct memory_pool_options {
    std::size_t slice_bytes = std::size_t{1} << 20U;  ///< what acquire() gives; rounded up to a page
    std::size_t arena_bytes = std::size_t{16} << 20U; ///< registered at a time; more where a buffer needs more
    std::size_t bytes_max = std::size_t{256} << 20U;  ///< pinned at most; at least one slice
    std::size_t bytes_initial = 0; ///< registered at once, so that the first buffers do not wait for it
    int numa_node = -1;            ///< where the memory should be; -1: wherever
    bool huge_pages = true;        ///< 2 MiB pages: set aside, else transparent ones
};

struct memory_pool_statistics {
    std::size_t in_use = 0;            ///< buffers
    std::size_t high_water = 0;        ///< buffers
    std::size_t bytes_in_use = 0;      ///< of their blocks, whose sizes are powers of two
    std::size_t bytes_high_water = 0;  //
    std::size_t bytes_registered = 0;  ///< pinned, in use or not
    std::size_t bytes_max = 0;         //
    std::size_t bytes_huge = 0;        ///< of bytes_registered, in pages of 2 MiB that were set aside
    std::size_t bytes_transparent = 0; ///< likewise, where the kernel was asked for huge pages
    std::size_t bytes_on_node = 0;     ///< likewise, where the kernel was told to prefer the NUMA node
    std::size_t quarantined = 0;       ///< buffers that will never be handed out again
    std::size_t bytes_quarantined = 0; //
    double fragmentation = 0;          ///< the part of the free bytes that is outside the largest free block, 0 to 1
};

/// Told that memory came back, by the thread that gave it back.
class return_listener {
public:
    virtual ~return_listener() = default;
    virtual void returned() noexcept = 0;
};

/// Buffers come in powers of two from 4 KiB to 2 GiB, at page borders; a buffer's size() is what was asked for.
///
/// Threads: its owner's, one at a time; buffers may be given back on any thread at any time. Nothing takes a lock.
/// Allocation: none but when an arena is added.
class memory_pool {
public:
    /// `domains`: one for each open device, in the order of the runtime's devices; they must outlive the pool.
    /// Throws system_error: invalid_argument for a slice beyond 2 GiB or a total beyond 128 TiB, forked, and what adding
    /// `bytes_initial` gives.
    memory_pool(std::vector<fabric::protection_domain*> domains, const memory_pool_options& options);
    memory_pool(const memory_pool&) = delete;
    memory_pool& operator=(const memory_pool&) = delete;
    /// All buffers must have come back, from other threads too: asserted. Memory that a window still reaches is leaked.
    ~memory_pool();

    /// slice_bytes() bytes with unspecified contents; likewise `bytes`. O(1) where a block of the size is free. Else a larger one is
    /// split, free neighbours are merged, or memory is registered, which takes milliseconds: `bytes_initial` avoids it.
    /// Errors: pool_exhausted at bytes_max; invalid_argument (0 bytes or more than 2 GiB); forked; registration_refused
    /// (registration_help() tells how much is missing), no_memory, or errno when memory cannot be registered.
    result<buffer> acquire() { return acquire(options_.slice_bytes); }
    result<buffer> acquire(std::size_t bytes);

    /// Takes a buffer out of circulation for good, because somebody may still touch it: its fence failed. It stays pinned, and
    /// counted in statistics(). Threads: the owner's.
    void quarantine(buffer doomed) noexcept;

    std::size_t slice_bytes() const noexcept { return options_.slice_bytes; }
    /// Whether acquire(bytes) would succeed if nothing were in use: else waiting for it is in vain.
    bool could_hold(std::size_t bytes) const noexcept;
    /// Takes in what other threads gave back, and merges free neighbours. Threads: the owner's.
    memory_pool_statistics statistics() noexcept;

    /// Who is told of memory that comes back, while watch_returns(true): once, until watch_returns(true) is called again.
    void on_return(std::shared_ptr<return_listener> listener) noexcept { listener_ = std::move(listener); }
    void watch_returns(bool watching) noexcept;

private:
    friend class buffer;

    error_code grow(std::size_t bytes);
    void drop_free_arenas(std::size_t bytes) noexcept;
    void take_returned() noexcept;
    static void release(memory_pool& pool, block& returned) noexcept;

    std::vector<fabric::protection_domain*> domains_;
    memory_pool_options options_;
    std::vector<std::unique_ptr<arena>> arenas_;
    std::unique_ptr<free_blocks> free_;
    memory_pool_statistics counts_; // in use and quarantined; the rest is counted when asked for
    std::shared_ptr<return_listener> listener_;
    bool watching_ = false;
    // What buffers' destructors gave back and the owner has not taken in: a block*, with bit 0 set while the listener waits.
    alignas(64) std::atomic<std::uintptr_t> returned_{0};
};

} // namespace penstock::memory
