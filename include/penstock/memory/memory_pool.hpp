#pragma once

// A bounded pool of registered memory, handed out in slices of one size.
//
// Regions are registered for local use and for windows, never with a remote right: what a peer may reach, and for how
// long, is decided by a memory window for each request.

#include <penstock/core/error.hpp>
#include <penstock/fabric/memory.hpp>
#include <penstock/memory/local_buffer.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace penstock::memory {

class memory_pool;
class arena;

/// One slice of the pool, returned to it by the destructor. The pool must outlive it.
class buffer {
public:
    buffer() = default;
    buffer(buffer&& other) noexcept;
    buffer& operator=(buffer&& other) noexcept;
    ~buffer();

    explicit operator bool() const noexcept { return pool_ != nullptr; }
    std::span<std::byte> bytes() const noexcept { return bytes_; }
    std::byte* data() const noexcept { return bytes_.data(); }
    std::size_t size() const noexcept { return bytes_.size(); }

    local_buffer slice() const noexcept { return home_ == nullptr ? local_buffer() : local_buffer(bytes_, *home_); }
    operator local_buffer() const noexcept { return slice(); } // NOLINT(google-explicit-constructor): all of it
    local_buffer slice(std::size_t offset, std::size_t length) const { return slice().slice(offset, length); }

private:
    friend class memory_pool;
    buffer(memory_pool* pool, std::span<std::byte> bytes, const registered_range* home) noexcept;

    memory_pool* pool_ = nullptr;
    std::span<std::byte> bytes_{};
    const registered_range* home_ = nullptr;
};

struct memory_pool_options {
    std::size_t slice_bytes = std::size_t{1} << 20U;  ///< rounded up to a page
    std::size_t arena_bytes = std::size_t{16} << 20U; ///< registered at a time; rounded up to a slice
    std::size_t bytes_max = std::size_t{256} << 20U;  ///< pinned at most; rounded down to arenas, at least one
};

struct memory_pool_statistics {
    std::size_t in_use = 0;
    std::size_t high_water = 0;
    std::size_t bytes_registered = 0;
    std::size_t bytes_max = 0;
};

/// Threads: one, the poller's. Allocation: none but when an arena is added.
class memory_pool {
public:
    /// `domains`: one for each open device, in the order of the runtime's devices; they must outlive the pool.
    /// Throws system_error: invalid_argument for a slice beyond 2 GiB or a total beyond 128 TiB.
    memory_pool(std::vector<fabric::protection_domain*> domains, const memory_pool_options& options);
    memory_pool(const memory_pool&) = delete;
    memory_pool& operator=(const memory_pool&) = delete;
    /// All buffers must have come back.
    ~memory_pool();

    /// A slice with unspecified contents. Adds an arena (milliseconds) when none is free.
    /// Errors: pool_exhausted at bytes_max; registration_refused, no_memory, or errno when an arena cannot be added.
    result<buffer> acquire();

    std::size_t slice_bytes() const noexcept { return options_.slice_bytes; }
    memory_pool_statistics statistics() const noexcept;

private:
    friend class buffer;
    struct free_slice {
        std::byte* data;
        const registered_range* home;
    };

    error_code add_arena();
    void release(std::byte* data, const registered_range* home) noexcept;

    std::vector<fabric::protection_domain*> domains_;
    memory_pool_options options_;
    std::vector<std::unique_ptr<arena>> arenas_;
    std::vector<free_slice> free_;
    std::size_t in_use_ = 0;
    std::size_t high_water_ = 0;
};

} // namespace penstock::memory
