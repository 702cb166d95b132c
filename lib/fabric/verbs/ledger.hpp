#pragma once

// What one queue pair has outstanding on one completion queue.
//
// Devices round depths up, some to twice what was asked for. Holding queue pairs to the depth they asked for keeps the
// promise of send_queue_full, and keeps the completion queue, sized by the sum of those depths, from overrunning.
//
// Ownership: the completion queue's, which frees a detached ledger only where no poll can still see it.
// Threads: the poller's, except for `failed`.

#include "fabric/verbs/window_table.hpp"

#include <atomic>
#include <cstdint>
#include <vector>

namespace penstock::fabric::verbs {

class verbs_queue_pair;

class queue_ledger {
public:
    queue_ledger(std::uint32_t queue_pair_number, std::uint32_t send_depth, std::uint32_t receive_depth)
        : queue_pair_number_(queue_pair_number)
        , send_depth_(send_depth)
        , receive_depth_(receive_depth)
        , runs_(send_depth)
    {}

    std::uint32_t queue_pair_number() const noexcept { return queue_pair_number_; }

    /// A request of the queue pair has failed: it is in ERROR.
    bool failed() const noexcept { return failed_.load(std::memory_order_acquire); }

    std::uint32_t send_room() const noexcept
    {
        return failed_.load(std::memory_order_relaxed) ? send_depth_ + receive_depth_ - pending_ : send_depth_ - sends_;
    }

    std::uint32_t receive_room() const noexcept
    {
        return failed_.load(std::memory_order_relaxed) ? send_depth_ + receive_depth_ - pending_
                                                       : receive_depth_ - receives_;
    }

    void send_posted(bool signaled) noexcept
    {
        if (failed_.load(std::memory_order_relaxed)) {
            ++pending_;
            return;
        }
        ++sends_;
        ++run_;
        if (!signaled)
            return;
        runs_[newest_] = run_;
        newest_ = newest_ + 1 == send_depth_ ? 0 : newest_ + 1;
        run_ = 0;
    }

    void receive_posted() noexcept { ++(failed_.load(std::memory_order_relaxed) ? pending_ : receives_); }

    /// A signaled request succeeded, and with it the unsignaled ones before it.
    void send_completed() noexcept
    {
        if (failed_.load(std::memory_order_relaxed)) {
            settle();
            return;
        }
        if (run_ == sends_)
            return; // a completion of an earlier queue pair with this number
        sends_ -= runs_[oldest_];
        oldest_ = oldest_ + 1 == send_depth_ ? 0 : oldest_ + 1;
    }

    void receive_completed() noexcept
    {
        if (failed_.load(std::memory_order_relaxed))
            settle();
        else if (receives_ != 0)
            --receives_;
    }

    /// A failed completion does not say which queue it came from, so from the first one on both are counted as one.
    /// Unsignaled requests that were done silently before it stay counted: there is less room than asked for, never
    /// more. True for the first failure.
    bool request_failed() noexcept
    {
        const bool first = !failed_.load(std::memory_order_relaxed);
        if (first) {
            pending_ = sends_ + receives_;
            failed_.store(true, std::memory_order_release);
        }
        settle();
        return first;
    }

    window_table& windows() noexcept { return windows_; }

    verbs_queue_pair* pair = nullptr; ///< null once it is being destroyed; guarded by the provider's link mutex

private:
    void settle() noexcept { pending_ -= pending_ != 0 ? 1 : 0; }

    std::uint32_t queue_pair_number_;
    std::uint32_t send_depth_;
    std::uint32_t receive_depth_;
    std::uint32_t sends_ = 0;
    std::uint32_t receives_ = 0;
    std::uint32_t pending_ = 0; ///< of both kinds, once failed
    std::uint32_t run_ = 0;     ///< posted since the last signaled request
    std::uint32_t newest_ = 0;
    std::uint32_t oldest_ = 0;
    std::vector<std::uint32_t> runs_; ///< ring: requests that each signaled one retires
    std::atomic<bool> failed_{false};
    window_table windows_;
};

} // namespace penstock::fabric::verbs
