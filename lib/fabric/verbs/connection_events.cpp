// What rdma_cm and the clock tell a connection.

#include "fabric/verbs/connection.hpp"
#include "fabric/verbs/connection_channel.hpp"
#include "fabric/verbs/device.hpp"
#include "fabric/verbs/errors.hpp"
#include "fabric/verbs/path.hpp"
#include "fabric/verbs/provider.hpp"
#include "fabric/verbs/queue_pair.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>

namespace penstock::fabric::verbs {

bool verbs_connection::on_event(const cm_event& event, connection_event& out)
{
    switch (event.type) {
    case RDMA_CM_EVENT_ADDR_RESOLVED: return on_address_resolved();
    case RDMA_CM_EVENT_ROUTE_RESOLVED: return on_route_resolved(out);
    case RDMA_CM_EVENT_ADDR_ERROR:
    case RDMA_CM_EVENT_ROUTE_ERROR:
        if (step_ == step::resolving_address || step_ == step::resolving_route)
            on_resolve_error(std::abs(event.status));
        return false;
    case RDMA_CM_EVENT_CONNECT_RESPONSE: return on_response(event, out);
    case RDMA_CM_EVENT_ESTABLISHED: return on_established(out);
    case RDMA_CM_EVENT_REJECTED: return end(connection_event_type::rejected, errc::refused, out);
    case RDMA_CM_EVENT_CONNECT_ERROR:
        return end(connection_event_type::failed, error_from_errno(std::abs(event.status)), out);
    case RDMA_CM_EVENT_UNREACHABLE:
        if (step_ == step::established || step_ == step::disconnecting)
            return on_disconnected(errc::connection_lost, out);
        return end(connection_event_type::unreachable, errc::unreachable, out);
    case RDMA_CM_EVENT_DISCONNECTED: return on_disconnected({}, out);
    case RDMA_CM_EVENT_DEVICE_REMOVAL: return end(connection_event_type::device_removed, errc::connection_lost, out);
    // An address that moved shows as a queue pair that fails, or not at all; TIMEWAIT_EXIT concerns the kernel only.
    default: return false;
    }
}

bool verbs_connection::on_address_resolved()
{
    if (step_ != step::resolving_address)
        return false;
    step_ = step::resolving_route;
    wait_until(after(resolve_timeout_));
    const auto milliseconds = static_cast<int>(std::min<std::int64_t>(resolve_timeout_.count(), 1'000'000'000));
    if (rdma_resolve_route(id_, milliseconds) != 0)
        on_resolve_error(errno);
    return false;
}

bool verbs_connection::on_route_resolved(connection_event& out)
{
    if (step_ != step::resolving_route)
        return false;
    stop_waiting();
    step_ = step::resolved;
    device_name_ = ibv_get_device_name(id_->verbs->device);
    out.type = connection_event_type::resolved;
    out.source = this;
    return true;
}

bool verbs_connection::on_response(const cm_event& event, connection_event& out)
{
    if (step_ != step::connecting)
        return false;
    path_.initiator_depth = std::min(path_.initiator_depth, event.initiator_depth);
    auto error = bring_up();
    if (!error && rdma_establish(id_) != 0)
        error = error_from_errno(errno);
    if (error) {
        rdma_reject(id_, nullptr, 0);
        return end(connection_event_type::failed, error, out);
    }
    return on_established(out);
}

bool verbs_connection::on_established(connection_event& out)
{
    if (step_ != step::connecting && step_ != step::accepting)
        return false;
    stop_waiting();
    step_ = step::established;
    out.type = connection_event_type::established;
    out.source = this;
    return true;
}

bool verbs_connection::on_disconnected(error_code error, connection_event& out)
{
    // The peer waits for an answer, and rdma_cm leaves it to us.
    if (step_ == step::established || step_ == step::accepting)
        rdma_disconnect(id_);
    return end(connection_event_type::disconnected, error, out);
}

/// The last event of a connection.
bool verbs_connection::end(connection_event_type type, error_code error, connection_event& out)
{
    if (step_ == step::ended)
        return false;
    stop_waiting();
    pair_to_error();
    // Who began the end is told of that, whatever brought it about.
    const bool asked = step_ == step::disconnecting;
    step_ = step::ended;
    out.type = asked ? connection_event_type::disconnected : type;
    out.source = this;
    out.error = asked ? reason_ : error;
    return true;
}

bool verbs_connection::on_deadline(connection_event& out)
{
    stop_waiting();
    return end(at_deadline_, error_at_deadline_, out);
}

void verbs_connection::tell_soon(connection_event_type type, error_code error)
{
    wait_until(channel_->owner().time().now());
    at_deadline_ = type;
    error_at_deadline_ = error;
}

void verbs_connection::wait_until(time_point deadline) noexcept
{
    stop_waiting();
    deadline_ = deadline;
    channel_->wait(*this);
}

void verbs_connection::stop_waiting() noexcept
{
    if (is_linked())
        channel_->forget(*this);
}

time_point verbs_connection::after(duration span) const noexcept
{
    return saturating_add(channel_->owner().time().now(), span);
}

error_code verbs_connection::bring_up()
{
    const std::lock_guard lock(channel_->owner().link_mutex());
    if (pair_ == nullptr)
        return errc::wrong_state;
    const std::pair<ibv_qp_state, queue_pair_state> steps[] = {
        {IBV_QPS_INIT, queue_pair_state::init},
        {IBV_QPS_RTR, queue_pair_state::ready_to_receive},
        {IBV_QPS_RTS, queue_pair_state::ready_to_send},
    };
    for (const auto& [state, reached] : steps)
        if (const auto error = step_up(*pair_, state, reached))
            return error;
    return {};
}

/// The port and the index of the GID are those the kernel finds now: none is remembered from an earlier look.
error_code verbs_connection::step_up(verbs_queue_pair& pair, ibv_qp_state state, queue_pair_state reached)
{
    ibv_qp_attr attributes{};
    attributes.qp_state = state;
    int mask = 0;
    if (rdma_init_qp_attr(id_, &attributes, &mask) != 0)
        return error_from_errno(errno);
    attributes.qp_state = state;
    if (state == IBV_QPS_RTR) {
        const auto& way = attributes.ah_attr;
        if (const auto error = pair.owner().check_path(way.port_num, way.grh.sgid_index))
            return error;
    }
    return pair.step(attributes, apply(path_, attributes, mask), reached);
}

} // namespace penstock::fabric::verbs
