#pragma once

// Registered memory and the domain that protects it.

#include <penstock/fabric/queue_pair.hpp>
#include <penstock/fabric/types.hpp>

#include <memory>

namespace penstock::fabric {

/// Memory a device may reach. The bytes belong to the caller and must outlive the region.
///
/// Threads: const members from any thread; `deregister` from any thread but once.
class memory_region {
public:
    memory_region(const memory_region&) = delete;
    memory_region& operator=(const memory_region&) = delete;

    /// Deregisters. A region that cannot be deregistered (a window is still bound to it) is leaked and logged:
    /// its pages stay pinned, because a peer may still reach them.
    virtual ~memory_region() = default;

    virtual std::span<std::byte> bytes() const noexcept = 0;
    virtual std::uint32_t lkey() const noexcept = 0;
    virtual std::uint32_t rkey() const noexcept = 0;

    /// Ends all access through this region's keys. When it returns without error no peer's access is in progress
    /// any more and none will begin: a write that was half landed ends with a remote access error at the peer.
    /// Errors: errc::region_in_use while a window is bound to it.
    virtual error_code deregister() = 0;

protected:
    memory_region() = default;
};

/// A type-2 memory window: a key on part of a region, bound and invalidated by work requests.
///
/// Ownership: child of its protection domain. Destroy it before the queue pair it was last bound on, and before
/// the region. Destroying a bound window ends access through its key.
/// Threads: those of the queue pair it is bound on.
class memory_window {
public:
    memory_window(const memory_window&) = delete;
    memory_window& operator=(const memory_window&) = delete;
    virtual ~memory_window() = default;

    /// The key of the last posted bind; meaningless before the first.
    virtual std::uint32_t key() const noexcept = 0;
    /// The key that the next posted bind will give the window.
    virtual std::uint32_t next_key() const noexcept = 0;

protected:
    memory_window() = default;
};

/// Memory, windows and queue pairs that may work together.
///
/// Ownership: child of a device; regions, windows, shared receive queues and queue pairs are its children and
/// must be destroyed before it.
/// Threads: any; each call is independent.
class protection_domain {
public:
    protection_domain(const protection_domain&) = delete;
    protection_domain& operator=(const protection_domain&) = delete;
    virtual ~protection_domain() = default;

    /// Registers (pins, on verbs) `bytes`. Blocks for milliseconds: not for a poller's thread.
    /// Errors: invalid_argument (remote_write or remote_atomic without local_write; empty span),
    /// registration_refused (locked-memory limit), no_memory, or errno.
    virtual result<std::unique_ptr<memory_region>> register_memory(std::span<std::byte> bytes, access rights) = 0;

    /// Errors: not_supported without capability::memory_windows, no_memory, or errno.
    virtual result<std::unique_ptr<memory_window>> allocate_window() = 0;

    /// Errors: invalid_argument (a depth of 0, or beyond the device's limits), or errno.
    virtual result<std::unique_ptr<shared_receive_queue>> create_shared_receive_queue(
        const shared_receive_queue_options& options)
        = 0;

    /// A queue pair in the INIT state: it takes receives, and is made ready by connection::connect or accept.
    /// Errors: invalid_argument (a missing completion queue; beyond the device's limits), completion_queue_full,
    /// or errno.
    virtual result<std::unique_ptr<queue_pair>> create_queue_pair(const queue_pair_options& options) = 0;

protected:
    protection_domain() = default;
};

} // namespace penstock::fabric
