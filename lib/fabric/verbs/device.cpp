#include "fabric/verbs/device.hpp"

#include <penstock/core/fork.hpp>

#include "fabric/verbs/completion_queue.hpp"
#include "fabric/verbs/connection.hpp"
#include "fabric/verbs/device_list.hpp"
#include "fabric/verbs/errors.hpp"
#include "fabric/verbs/post_send.hpp"
#include "fabric/verbs/protection_domain.hpp"
#include "fabric/verbs/provider.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>

namespace penstock::fabric::verbs {
namespace {

constexpr std::uint32_t software_vendor_id = 0xff'ffff; ///< what rxe calls its vendor; no registered vendor has it

std::uint32_t positive(int value) noexcept
{
    return value > 0 ? static_cast<std::uint32_t>(value) : 0;
}

device_event_type event_type(ibv_event_type type) noexcept
{
    switch (type) {
    case IBV_EVENT_CQ_ERR: return device_event_type::completion_queue_error;
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR: return device_event_type::queue_pair_fatal;
    case IBV_EVENT_QP_ACCESS_ERR: return device_event_type::queue_pair_access_error;
    case IBV_EVENT_QP_LAST_WQE_REACHED: return device_event_type::last_request_reached;
    case IBV_EVENT_DEVICE_FATAL: return device_event_type::device_fatal;
    case IBV_EVENT_PORT_ACTIVE: return device_event_type::port_active;
    case IBV_EVENT_PORT_ERR: return device_event_type::port_error;
    case IBV_EVENT_GID_CHANGE: return device_event_type::gid_changed;
    case IBV_EVENT_LID_CHANGE: return device_event_type::address_changed;
    default: return device_event_type::other;
    }
}

device_event translate(const ibv_async_event& event) noexcept
{
    device_event out{event_type(event.event_type), 0, 0};
    switch (event.event_type) {
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR:
    case IBV_EVENT_QP_LAST_WQE_REACHED:
    case IBV_EVENT_COMM_EST:
    case IBV_EVENT_SQ_DRAINED:
    case IBV_EVENT_PATH_MIG:
    case IBV_EVENT_PATH_MIG_ERR: out.queue_pair_number = event.element.qp->qp_num; break;
    case IBV_EVENT_PORT_ACTIVE:
    case IBV_EVENT_PORT_ERR:
    case IBV_EVENT_LID_CHANGE:
    case IBV_EVENT_GID_CHANGE: out.port = positive(event.element.port_num); break;
    default: break;
    }
    return out;
}

error_code watch(int set, int descriptor)
{
    epoll_event interest{};
    interest.events = EPOLLIN;
    interest.data.fd = descriptor;
    return ::epoll_ctl(set, EPOLL_CTL_ADD, descriptor, &interest) == 0 ? error_code{} : make_system_error(errno);
}

} // namespace

verbs_device::verbs_device(verbs_provider& owner, ibv_context& context)
    : owner_(owner)
    , context_(context)
{}

verbs_device::~verbs_device()
{
    if (event_set_ >= 0)
        ::close(event_set_);
    if (wake_ >= 0)
        ::close(wake_);
    if (core::forked()) {
        ::close(context_.async_fd);
        ::close(context_.cmd_fd);
        return;
    }
    if (ibv_close_device(&context_) != 0)
        owner_.log().error("closing the device " + info_.name + " failed: objects of it are still alive");
}

result<std::unique_ptr<device>> verbs_device::adopt(verbs_provider& owner, ibv_context& context, const path_wish& wish)
{
    std::unique_ptr<verbs_device> made(new verbs_device(owner, context));
    if (const auto error = made->initialise(wish))
        return error;
    return std::unique_ptr<device>(std::move(made));
}

error_code verbs_device::initialise(const path_wish& wish)
{
    ibv_device_attr attributes{};
    if (const int error = ibv_query_device(&context_, &attributes); error != 0)
        return error_from_errno(error);
    info_ = describe(context_, wish);
    if (wish.port && info_.port == 0) {
        owner_.log().error(info_.name + " " + info_.why);
        return errc::no_device;
    }
    insisted_port_ = wish.port;
    if (wish.gid_index) {
        insisted_.emplace();
        if (const int error = ibv_query_gid_ex(&context_, info_.port, info_.gid_index, &*insisted_, 0); error != 0)
            return error_from_errno(error);
    }
    soft_roce_ = attributes.vendor_id == software_vendor_id;
    read_limits(attributes);
    read_capabilities(attributes);
    probe_inline();
    return make_event_set();
}

error_code verbs_device::make_event_set()
{
    const int flags = ::fcntl(context_.async_fd, F_GETFL);
    if (flags < 0 || ::fcntl(context_.async_fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return make_system_error(errno);
    wake_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    event_set_ = ::epoll_create1(EPOLL_CLOEXEC);
    if (wake_ < 0 || event_set_ < 0)
        return make_system_error(errno);
    if (const auto error = watch(event_set_, context_.async_fd))
        return error;
    return watch(event_set_, wake_);
}

void verbs_device::read_limits(const ibv_device_attr& attributes)
{
    limits_.message_bytes_max = std::numeric_limits<std::uint32_t>::max();
    for (int port = 1; port <= attributes.phys_port_cnt; ++port) {
        ibv_port_attr port_attributes{};
        if (ibv_query_port(&context_, static_cast<std::uint8_t>(port), &port_attributes) == 0)
            limits_.message_bytes_max = std::min<std::uint64_t>(limits_.message_bytes_max, port_attributes.max_msg_sz);
    }
    limits_.region_bytes_max = attributes.max_mr_size;
    limits_.regions_max = positive(attributes.max_mr);
    limits_.windows_max = positive(attributes.max_mw);
    limits_.queue_pairs_max = positive(attributes.max_qp);
    limits_.send_depth_max = positive(attributes.max_qp_wr);
    limits_.receive_depth_max = positive(attributes.max_qp_wr);
    limits_.segments_max = std::min<std::uint32_t>(positive(attributes.max_sge), segments_supported);
    limits_.completion_queue_depth_max = positive(attributes.max_cqe);
    limits_.shared_receive_depth_max = positive(attributes.max_srq_wr);
    // The wire's handshake counts them in a byte, and its highest value has a meaning of its own.
    limits_.reads_and_atomics_max
        = std::min(254U, std::min(positive(attributes.max_qp_rd_atom), positive(attributes.max_qp_init_rd_atom)));
    limits_.connect_private_data_max = connect_private_data_max;
    limits_.accept_private_data_max = accept_private_data_max;
    limits_.reject_private_data_max = reject_private_data_max;
}

void verbs_device::read_capabilities(const ibv_device_attr& attributes)
{
    const auto has = [&](unsigned flag) { return (attributes.device_cap_flags & flag) != 0; };
    capabilities_.set(capability::passive_target_progress);
    if (has(IBV_DEVICE_MEM_WINDOW_TYPE_2A) || has(IBV_DEVICE_MEM_WINDOW_TYPE_2B))
        capabilities_.set(capability::memory_windows);
    if (has(IBV_DEVICE_MEM_MGT_EXTENSIONS))
        capabilities_.set(capability::send_with_invalidate);
    if (attributes.atomic_cap != IBV_ATOMIC_NONE)
        capabilities_.set(capability::atomics);
    if (soft_roce_)
        return;
    capabilities_.set(capability::window_range_enforced);
    capabilities_.set(capability::window_owner_enforced);
    capabilities_.set(capability::window_reinvalidate_safe);
    capabilities_.set(capability::error_status_exact);
}

/// No attribute tells the inline limit: a queue pair that is asked for too much is refused.
void verbs_device::probe_inline()
{
    ibv_pd* const domain = ibv_alloc_pd(&context_);
    ibv_cq* const completions = ibv_create_cq(&context_, 2, nullptr, nullptr, 0);
    for (const std::uint32_t bytes : {1'024U, 512U, 256U, 192U, 128U, 64U, 32U}) {
        if (domain == nullptr || completions == nullptr)
            break;
        ibv_qp_init_attr options{};
        options.send_cq = completions;
        options.recv_cq = completions;
        options.qp_type = IBV_QPT_RC;
        options.cap = {1, 1, 1, 1, bytes};
        if (ibv_qp* const probe = ibv_create_qp(domain, &options)) {
            limits_.inline_bytes_max = std::max(bytes, options.cap.max_inline_data);
            ibv_destroy_qp(probe);
            break;
        }
    }
    if (completions != nullptr)
        ibv_destroy_cq(completions);
    if (domain != nullptr)
        ibv_dealloc_pd(domain);
}

result<std::unique_ptr<protection_domain>> verbs_device::allocate_protection_domain()
{
    if (core::forked())
        return make_error_code(errc::forked);
    ibv_pd* const domain = ibv_alloc_pd(&context_);
    if (domain == nullptr)
        return error_from_errno(errno);
    return std::unique_ptr<protection_domain>(std::make_unique<verbs_protection_domain>(*this, *domain));
}

result<std::unique_ptr<completion_queue>> verbs_device::create_completion_queue(std::uint32_t depth)
{
    if (core::forked())
        return make_error_code(errc::forked);
    return verbs_completion_queue::create(*this, depth);
}

std::size_t verbs_device::poll_events(std::span<device_event> out)
{
    if (core::forked())
        return 0;
    std::size_t count = 0;
    if (!out.empty() && completion_queue_failed_.exchange(false)) {
        eventfd_t ignored = 0;
        ::eventfd_read(wake_, &ignored);
        out[count++] = {device_event_type::completion_queue_error, 0, 0};
    }
    while (count < out.size()) {
        ibv_async_event event{};
        if (ibv_get_async_event(&context_, &event) != 0)
            break;
        out[count++] = translate(event);
        // Destroying what the event is about waits for this.
        ibv_ack_async_event(&event);
    }
    return count;
}

error_code verbs_device::check_path(std::uint8_t port, std::uint8_t gid_index) const
{
    bool as_asked = !insisted_port_ || *insisted_port_ == port;
    if (insisted_ && as_asked) {
        ibv_gid_entry used{};
        if (const int error = ibv_query_gid_ex(&context_, port, gid_index, &used, 0); error != 0)
            return error_from_errno(error);
        as_asked = std::memcmp(used.gid.raw, insisted_->gid.raw, sizeof used.gid.raw) == 0
            && used.gid_type == insisted_->gid_type;
    }
    if (as_asked)
        return {};
    owner_.log().error(info_.name + ": port " + std::to_string(info_.port) + " and GID " + info_.gid
        + " were asked for, but rdma_cm leads over port " + std::to_string(port) + ", GID index "
        + std::to_string(gid_index) + ": check the route, and for RoCE v1 or v2 the kernel's default_roce_mode");
    return errc::no_device;
}

void verbs_device::report_completion_queue_error() noexcept
{
    if (!completion_queue_failed_.exchange(true))
        ::eventfd_write(wake_, 1);
}

} // namespace penstock::fabric::verbs
