#include "fabric/verbs/queue_pair.hpp"

#include <penstock/core/fork.hpp>

#include "fabric/verbs/completion_queue.hpp"
#include "fabric/verbs/connection.hpp"
#include "fabric/verbs/device.hpp"
#include "fabric/verbs/errors.hpp"
#include "fabric/verbs/memory.hpp"
#include "fabric/verbs/path.hpp"
#include "fabric/verbs/post_receive.hpp"
#include "fabric/verbs/provider.hpp"
#include "fabric/verbs/shared_receive_queue.hpp"

#include <algorithm>
#include <cerrno>

namespace penstock::fabric::verbs {
namespace {

verbs_completion_queue& native(completion_queue& queue)
{
    return static_cast<verbs_completion_queue&>(queue);
}

/// It exists, and is one of this device's.
bool usable(completion_queue* queue, const verbs_device& device)
{
    const auto* const ours = dynamic_cast<verbs_completion_queue*>(queue);
    return ours != nullptr && &ours->owner() == &device;
}

bool valid(const queue_pair_options& options, const verbs_device& device)
{
    const device_limits& limits = device.limits();
    if (!usable(options.send_completions, device) || !usable(options.receive_completions, device))
        return false;
    if (options.shared_receives != nullptr
        && dynamic_cast<verbs_shared_receive_queue*>(options.shared_receives) == nullptr)
        return false;
    const bool own_receives = options.shared_receives == nullptr;
    if (own_receives && (options.receive_depth == 0 || options.receive_depth > limits.receive_depth_max))
        return false;
    return options.send_depth != 0 && options.send_depth <= limits.send_depth_max
        && options.send_segments_max <= limits.segments_max && options.receive_segments_max <= limits.segments_max
        && options.inline_bytes_max <= limits.inline_bytes_max;
}

} // namespace

verbs_queue_pair::verbs_queue_pair(verbs_device& device, const queue_pair_options& options)
    : device_(device)
    , options_(options)
    , send_completions_(native(*options.send_completions))
    , receive_completions_(native(*options.receive_completions))
{
    options_.send_segments_max = std::max(1U, options.send_segments_max);
    options_.receive_segments_max = std::max(1U, options.receive_segments_max);
}

result<std::unique_ptr<queue_pair>> verbs_queue_pair::create(
    verbs_device& device, ibv_pd& domain, const queue_pair_options& options)
{
    if (!valid(options, device))
        return make_error_code(errc::invalid_argument);
    std::unique_ptr<verbs_queue_pair> made(new verbs_queue_pair(device, options));
    if (const auto error = made->initialise(domain))
        return error;
    return std::unique_ptr<queue_pair>(std::move(made));
}

/// Receives from a shared receive queue count as well: each of them may complete here.
error_code verbs_queue_pair::reserve()
{
    if (const auto error = send_completions_.reserve(options_.send_depth))
        return error;
    if (const auto error = receive_completions_.reserve(options_.receive_depth)) {
        send_completions_.release(options_.send_depth);
        return error;
    }
    reserved_ = true;
    return {};
}

error_code verbs_queue_pair::initialise(ibv_pd& domain)
{
    if (options_.shared_receives != nullptr)
        options_.receive_depth = 0;
    if (const auto error = reserve())
        return error;
    ibv_qp_init_attr options{};
    options.send_cq = &send_completions_.native();
    options.recv_cq = &receive_completions_.native();
    options.qp_type = IBV_QPT_RC;
    options.cap.max_send_wr = options_.send_depth;
    options.cap.max_send_sge = options_.send_segments_max;
    options.cap.max_inline_data = options_.inline_bytes_max;
    if (options_.shared_receives != nullptr) {
        options.srq = &static_cast<verbs_shared_receive_queue*>(options_.shared_receives)->native();
    } else {
        options.cap.max_recv_wr = options_.receive_depth;
        options.cap.max_recv_sge = options_.receive_segments_max;
    }
    pair_ = ibv_create_qp(&domain, &options);
    if (pair_ == nullptr)
        return error_from_errno(errno);
    inline_bytes_max_ = options.cap.max_inline_data;
    if (&send_completions_ == &receive_completions_) {
        sends_ = &send_completions_.attach(pair_->qp_num, options_.send_depth, options_.receive_depth);
        receives_ = sends_;
    } else {
        sends_ = &send_completions_.attach(pair_->qp_num, options_.send_depth, 0);
        receives_ = &receive_completions_.attach(pair_->qp_num, 0, options_.receive_depth);
    }
    sends_->pair = this; // nothing was posted: no poll can look yet
    receives_->pair = this;
    // Receives may be posted from INIT on. The port is what the connection's path uses; that is not known yet, and is
    // set again then.
    ibv_qp_attr attributes{};
    attributes.qp_state = IBV_QPS_INIT;
    attributes.port_num = static_cast<std::uint8_t>(std::max(1U, device_.info().port));
    attributes.qp_access_flags = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC;
    return step(
        attributes, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS, queue_pair_state::init);
}

verbs_queue_pair::~verbs_queue_pair()
{
    if (core::forked())
        return; // the parent's: the device must not hear of it
    {
        const std::lock_guard lock(device_.owner().link_mutex());
        if (user != nullptr)
            user->forget_pair();
        if (sends_ != nullptr)
            sends_->pair = nullptr;
        if (receives_ != nullptr)
            receives_->pair = nullptr;
    }
    // A device may block for a minute when a window is still bound.
    if (receives_ != nullptr) {
        receives_->windows().remove_all(
            [](window_entry& entry) { static_cast<verbs_memory_window&>(entry).deallocate(); });
    }
    if (pair_ != nullptr && ibv_destroy_qp(pair_) != 0)
        device_.owner().log().error("a queue pair is leaked: the device did not destroy it");
    if (sends_ != nullptr)
        send_completions_.detach(*sends_);
    if (receives_ != nullptr && receives_ != sends_)
        receive_completions_.detach(*receives_);
    if (reserved_) {
        send_completions_.release(options_.send_depth);
        receive_completions_.release(options_.receive_depth);
    }
}

error_code verbs_queue_pair::step(ibv_qp_attr& attributes, int mask, queue_pair_state reached)
{
    if (const int error = ibv_modify_qp(pair_, &attributes, mask); error != 0)
        return error_from_errno(error);
    // ERROR is final, and may have been entered by another thread in between.
    auto present = state_.load();
    while (present < reached && !state_.compare_exchange_weak(present, reached)) {}
    return {};
}

/// SoftRoCE flushes everything when it enters ERROR, also when it is there already. What is posted in that state it
/// flushes sometimes: receives never, and sends until its own position in the queue has lagged by one round.
void verbs_queue_pair::flush_on_soft_roce() noexcept
{
    if (known_broken() && device_.is_soft_roce()) [[unlikely]]
        enter_error();
}

error_code verbs_queue_pair::move_to_error()
{
    if (core::forked())
        return make_error_code(errc::forked);
    const auto error = enter_error();
    const std::lock_guard lock(device_.owner().link_mutex());
    if (user != nullptr)
        user->pair_broke();
    return error;
}

error_code verbs_queue_pair::enter_error()
{
    ibv_qp_attr attributes{};
    attributes.qp_state = IBV_QPS_ERR;
    const int error = ibv_modify_qp(pair_, &attributes, IBV_QP_STATE);
    if (error != 0)
        return error_from_errno(error);
    state_.store(queue_pair_state::error);
    return {};
}

bool verbs_queue_pair::known_broken() const noexcept
{
    return state_.load(std::memory_order_relaxed) == queue_pair_state::error || sends_->failed() || receives_->failed();
}

queue_pair_state verbs_queue_pair::state() const noexcept
{
    if (known_broken())
        return queue_pair_state::error;
    ibv_qp_attr attributes{};
    ibv_qp_init_attr options{};
    if (ibv_query_qp(pair_, &attributes, IBV_QP_STATE, &options) != 0)
        return state_.load();
    if (attributes.qp_state == IBV_QPS_ERR || attributes.qp_state == IBV_QPS_SQE)
        state_.store(queue_pair_state::error);
    return state_.load();
}

result<path_properties> verbs_queue_pair::path() const
{
    ibv_qp_attr attributes{};
    ibv_qp_init_attr options{};
    constexpr int wanted = IBV_QP_STATE | IBV_QP_PORT | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT
        | IBV_QP_RNR_RETRY | IBV_QP_MIN_RNR_TIMER | IBV_QP_MAX_QP_RD_ATOMIC | IBV_QP_MAX_DEST_RD_ATOMIC;
    if (const int error = ibv_query_qp(pair_, &attributes, wanted, &options); error != 0)
        return error_from_errno(error);
    path_properties path;
    path.port = attributes.ah_attr.port_num;
    path.gid_index = attributes.ah_attr.grh.sgid_index;
    path.options = read(attributes);
    ibv_gid gid{};
    if (ibv_query_gid(&device_.context(), attributes.ah_attr.port_num, attributes.ah_attr.grh.sgid_index, &gid) != 0)
        return error_from_errno(errno);
    boost::asio::ip::address_v6::bytes_type bytes{};
    std::copy(std::begin(gid.raw), std::end(gid.raw), bytes.begin());
    path.gid = boost::asio::ip::address_v6(bytes).to_string();
    return path;
}

post_result verbs_queue_pair::post_receive(std::span<const receive_request> requests)
{
    if (core::forked())
        return {0, errc::forked};
    if (has_shared_receives())
        return {0, errc::wrong_state};
    const auto result = post_receives(requests, options_.receive_segments_max, receives_->receive_room(),
        [this](ibv_recv_wr* first, ibv_recv_wr** bad) { return ibv_post_recv(pair_, first, bad); });
    for (std::size_t i = 0; i < result.posted; ++i)
        receives_->receive_posted();
    if (result.posted != 0)
        flush_on_soft_roce();
    return result;
}

} // namespace penstock::fabric::verbs
