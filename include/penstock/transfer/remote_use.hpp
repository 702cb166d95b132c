#pragma once

// Which of the peer's exposures our posted work is using, so that a revocation can be answered when that work has ended.

#include <penstock/core/error.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace penstock::transfer {

struct remote_use_options {
    std::uint32_t in_use_max = 1024;         ///< exposures with work of ours posted, at a time
    std::uint32_t revoked_remembered = 1024; ///< the newest revoked ones: new work on them is refused here, at no cost
};

/// One for each connection. A pure table: the caller sends `released` when told that it is due. A `released` that is lost only
/// costs the owner its grace period: our work has ended.
///
/// Work on an exposure that was revoked so long ago that it is forgotten meets a dead key, which costs the lane.
/// *Threads.* The runtime's executor. *Allocation.* None after construction.
class remote_use {
public:
    explicit remote_use(const remote_use_options& options = {});

    /// Before work on exposure `id` is posted; each success is paid back by one end().
    /// Errors: exposure_revoked, send_queue_full (in_use_max).
    error_code begin(std::uint64_t id) noexcept;

    /// After that work has ended. True: `released(id)` is due.
    [[nodiscard]] bool end(std::uint64_t id) noexcept;

    /// The owner revoked `id`, which need not be known here. True: `released(id)` is due now, nothing of ours is posted.
    [[nodiscard]] bool revoke(std::uint64_t id) noexcept;

    /// Exposures in use now.
    std::size_t in_use() const noexcept { return in_use_; }

private:
    /// Free when neither in use nor revoked.
    struct entry {
        std::uint64_t id = 0;
        std::uint32_t users = 0;
        bool revoked = false;
        bool taken() const noexcept { return users != 0 || revoked; }
    };

    std::size_t home_of(std::uint64_t id) const noexcept;
    std::size_t find(std::uint64_t id) const noexcept; ///< its place, or the free one where it belongs
    void erase(std::size_t place) noexcept;
    void remember(std::uint64_t id) noexcept;

    std::uint32_t in_use_max_;
    std::vector<entry> table_; // open addressing, at most half full
    unsigned shift_ = 0;
    std::size_t in_use_ = 0;
    std::vector<std::uint64_t> revoked_; // ring of those revoked and not in use, oldest at next_; 0: none yet
    std::size_t next_ = 0;
};

} // namespace penstock::transfer
