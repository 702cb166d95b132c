#pragma once

#include "fabric/verbs/ledger.hpp"

#include <penstock/fabric/connection.hpp>
#include <penstock/fabric/queue_pair.hpp>

#include <infiniband/verbs.h>

#include <atomic>

namespace penstock::fabric::verbs {

class verbs_completion_queue;
class verbs_connection;
class verbs_device;
class verbs_memory_window;
struct send_batch;

/// Requests posted in ERROR go to the device, which flushes them in order behind what is outstanding: nothing here
/// could know when that is done.
///
/// On devices without capability::window_reinvalidate_safe an invalidation whose key is not bound on this queue pair is
/// posted with a key that no object has, so that the device fails it instead of crashing.
class verbs_queue_pair final : public queue_pair {
public:
    static result<std::unique_ptr<queue_pair>> create(
        verbs_device& device, ibv_pd& domain, const queue_pair_options& options);
    ~verbs_queue_pair() override;

    post_result post_send(std::span<const send_request> requests) override;
    post_result post_receive(std::span<const receive_request> requests) override;
    error_code move_to_error() override;
    queue_pair_state state() const noexcept override;
    std::uint32_t number() const noexcept override { return pair_->qp_num; }
    std::uint32_t inline_bytes_max() const noexcept override { return inline_bytes_max_; }

    verbs_device& owner() const noexcept { return device_; }
    bool has_shared_receives() const noexcept { return options_.shared_receives != nullptr; }

    /// One step on the way to ready_to_send, with the endpoint in `attributes`. The channel's thread.
    error_code step(ibv_qp_attr& attributes, int mask, queue_pair_state reached);

    /// move_to_error without telling the connection.
    error_code enter_error();

    /// What the device has of its path. Errors: errno.
    result<path_properties> path() const;

    /// The connection that uses it; guarded by the provider's link mutex.
    verbs_connection* user = nullptr;

private:
    verbs_queue_pair(verbs_device& device, const queue_pair_options& options);
    error_code initialise(ibv_pd& domain);
    error_code reserve();
    bool known_broken() const noexcept;
    void flush_on_soft_roce() noexcept;
    error_code refusal(const send_request& request) const noexcept;
    std::uint64_t length_limit(const send_request& request) const noexcept;
    void append(const send_request& request, send_batch& batch) noexcept;
    void append_window_request(const send_request& request, send_batch& batch, std::size_t index) noexcept;
    error_code flush(send_batch& batch, std::size_t& posted) noexcept;
    void settle(send_batch& batch, std::size_t posted) noexcept;

    verbs_device& device_;
    queue_pair_options options_;
    verbs_completion_queue& send_completions_;
    verbs_completion_queue& receive_completions_;
    bool reserved_ = false;
    ibv_qp* pair_ = nullptr;
    queue_ledger* sends_ = nullptr;
    queue_ledger* receives_ = nullptr; ///< the same with one completion queue for both
    std::uint32_t inline_bytes_max_ = 0;
    mutable std::atomic<queue_pair_state> state_{queue_pair_state::init};
};

} // namespace penstock::fabric::verbs
