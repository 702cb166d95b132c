#pragma once

#include "fabric/verbs/ledger.hpp"

#include <penstock/fabric/queue_pair.hpp>

#include <infiniband/verbs.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

namespace penstock::fabric::verbs {

class verbs_device;

/// Threads: poll, arm and acknowledge the poller's; reserve, release, attach and detach any, also while it polls.
class verbs_completion_queue final : public completion_queue {
public:
    static result<std::unique_ptr<completion_queue>> create(verbs_device& device, std::uint32_t depth);
    ~verbs_completion_queue() override;

    std::size_t poll(std::span<work_completion> out) override;
    error_code arm(bool solicited_only) override;
    void acknowledge() override;
    int descriptor() const noexcept override { return channel_ != nullptr ? channel_->fd : -1; }
    std::size_t depth() const noexcept override { return depth_; }

    /// Room for `entries` more outstanding requests, or errc::completion_queue_full.
    error_code reserve(std::uint64_t entries);
    void release(std::uint64_t entries) noexcept;

    /// The ledger lives until `detach`.
    queue_ledger& attach(std::uint32_t queue_pair_number, std::uint32_t send_depth, std::uint32_t receive_depth);
    void detach(queue_ledger& ledger);

    verbs_device& owner() const noexcept { return device_; }
    ibv_cq& native() const noexcept { return *queue_; }

private:
    /// A snapshot, replaced as a whole: the poller reads it without a lock.
    struct ledger_table {
        std::vector<queue_ledger*> slots; ///< open addressing; a power of two, at least half empty
        queue_ledger* find(std::uint32_t queue_pair_number) const noexcept;
        void insert(queue_ledger& ledger) noexcept;
    };

    verbs_completion_queue(verbs_device& device, std::uint32_t depth);
    error_code initialise();
    void publish();
    void reclaim();
    void tell_failure(queue_ledger& ledger) noexcept;
    void take(const ibv_wc& from, work_completion& to) noexcept;
    void take_success(const ibv_wc& from, work_completion& to, queue_ledger* ledger) noexcept;

    verbs_device& device_;
    std::uint32_t depth_;
    ibv_comp_channel* channel_ = nullptr;
    ibv_cq* queue_ = nullptr;
    unsigned invalidated_flags_; ///< of ibv_wc::wc_flags: the peer invalidated a window
    bool poll_failed_ = false;
    std::atomic<ledger_table*> table_{nullptr};
    std::atomic<bool> has_retired_{false};

    std::mutex mutex_; ///< of everything below
    std::uint64_t reserved_ = 0;
    std::vector<std::unique_ptr<queue_ledger>> ledgers_;
    std::unique_ptr<ledger_table> current_;
    // Freed by the next poll: the one running when they were retired may still look at them.
    std::vector<std::unique_ptr<queue_ledger>> retired_ledgers_;
    std::vector<std::unique_ptr<ledger_table>> retired_tables_;
};

} // namespace penstock::fabric::verbs
