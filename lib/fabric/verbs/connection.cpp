// What the owner of a connection asks for. What rdma_cm answers is in connection_events.cpp.

#include "fabric/verbs/connection.hpp"

#include <penstock/core/fork.hpp>

#include "fabric/verbs/addresses.hpp"
#include "fabric/verbs/connection_channel.hpp"
#include "fabric/verbs/device.hpp"
#include "fabric/verbs/errors.hpp"
#include "fabric/verbs/path.hpp"
#include "fabric/verbs/provider.hpp"
#include "fabric/verbs/queue_pair.hpp"

#include <algorithm>
#include <cerrno>

namespace penstock::fabric::verbs {
namespace {

/// A peer that died does not answer; rdma_cm would go on asking for a minute.
constexpr std::chrono::seconds disconnect_patience{2};

} // namespace

verbs_connection::verbs_connection(verbs_connection_channel& channel, const resolve_options& options) noexcept
    : channel_(&channel)
    , resolve_timeout_(options.timeout)
    , handshake_timeout_(options.handshake_timeout)
{}

verbs_connection::verbs_connection(
    verbs_connection_channel& channel, rdma_cm_id& id, std::chrono::milliseconds timeout, std::uint8_t initiator_depth)
    : channel_(&channel)
    , id_(&id)
    , handshake_timeout_(timeout)
    , step_(step::requested)
    , offered_depth_(initiator_depth)
    , device_name_(ibv_get_device_name(id.verbs->device))
{
    id.context = static_cast<cm_target*>(this);
}

verbs_connection::~verbs_connection()
{
    if (core::forked())
        return; // the parent's: the device must not hear of it
    stop_waiting();
    pair_to_error();
    release_pair();
    if (id_ == nullptr)
        return;
    if (step_ == step::requested)
        rdma_reject(id_, nullptr, 0);
    else if (step_ == step::established || step_ == step::accepting)
        rdma_disconnect(id_);
    // Drops the events of this id that have not been taken; all that have been are acknowledged.
    rdma_destroy_id(id_);
}

error_code verbs_connection::start(const endpoint& remote, const endpoint& local)
{
    if (rdma_create_id(&channel_->native(), &id_, static_cast<cm_target*>(this), RDMA_PS_TCP) != 0)
        return error_from_errno(errno);
    const bool chosen = !local.address().is_unspecified() || local.port() != 0;
    if (chosen && local.protocol() != remote.protocol())
        return errc::invalid_argument;
    auto from = to_sockaddr(local);
    auto to = to_sockaddr(remote);
    wait_until(after(resolve_timeout_));
    const auto milliseconds = static_cast<int>(std::min<std::int64_t>(resolve_timeout_.count(), 1'000'000'000));
    if (rdma_resolve_addr(
            id_, chosen ? reinterpret_cast<sockaddr*>(&from) : nullptr, reinterpret_cast<sockaddr*>(&to), milliseconds)
        != 0)
        on_resolve_error(errno);
    return {};
}

void verbs_connection::on_resolve_error(int errno_value)
{
    switch (errno_value) {
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ETIMEDOUT: tell_soon(connection_event_type::unreachable, errc::unreachable); break;
    // The address is known, but the way to it leaves through an interface without a device.
    case ENODEV: tell_soon(connection_event_type::failed, errc::no_device); break;
    default: tell_soon(connection_event_type::failed, error_from_errno(errno_value));
    }
}

error_code verbs_connection::check(queue_pair& pair, const connect_options& options, std::size_t private_data_max) const
{
    if (options.private_data.size() > private_data_max)
        return errc::private_data_too_long;
    const auto* const ours = dynamic_cast<verbs_queue_pair*>(&pair);
    if (ours == nullptr || &ours->owner().owner() != &channel_->owner()
        || !valid(options.path, ours->owner().info().layer) || ours->owner().info().name != device_name_)
        return errc::invalid_argument;
    if (ours->state() != queue_pair_state::init)
        return errc::wrong_state;
    return {};
}

error_code verbs_connection::adopt(queue_pair& pair, const path_options& path)
{
    auto& ours = static_cast<verbs_queue_pair&>(pair);
    const auto limit = static_cast<std::uint8_t>(ours.owner().limits().reads_and_atomics_max);
    path_ = path;
    path_.initiator_depth = std::min(path.initiator_depth, limit);
    path_.responder_resources = std::min(path.responder_resources, limit);
    const std::lock_guard lock(channel_->owner().link_mutex());
    if (ours.user != nullptr)
        return errc::wrong_state;
    ours.user = this;
    pair_ = &ours;
    return {};
}

void verbs_connection::release_pair() noexcept
{
    const std::lock_guard lock(channel_->owner().link_mutex());
    if (pair_ != nullptr)
        pair_->user = nullptr;
    pair_ = nullptr;
    channel_->forget_broken(*this);
}

void verbs_connection::pair_to_error() noexcept
{
    const std::lock_guard lock(channel_->owner().link_mutex());
    if (pair_ != nullptr)
        pair_->enter_error();
}

rdma_conn_param verbs_connection::parameters(
    std::span<const std::byte> private_data, const verbs_queue_pair& pair) const noexcept
{
    rdma_conn_param out{};
    out.private_data = private_data.empty() ? nullptr : private_data.data();
    out.private_data_len = static_cast<std::uint8_t>(private_data.size());
    out.responder_resources = path_.responder_resources;
    out.initiator_depth = path_.initiator_depth;
    out.flow_control = 1;
    out.retry_count = path_.retry_count;
    out.rnr_retry_count = path_.rnr_retry_count;
    out.srq = pair.has_shared_receives() ? 1 : 0;
    out.qp_num = pair.number();
    return out;
}

error_code verbs_connection::connect(queue_pair& pair, const connect_options& options)
{
    if (core::forked())
        return make_error_code(errc::forked);
    if (step_ != step::resolved)
        return errc::wrong_state;
    if (const auto error = check(pair, options, connect_private_data_max))
        return error;
    if (const auto error = adopt(pair, options.path))
        return error;
    auto arguments = parameters(options.private_data, static_cast<verbs_queue_pair&>(pair));
    if (rdma_connect(id_, &arguments) != 0) {
        const auto error = error_from_errno(errno);
        release_pair();
        return error;
    }
    step_ = step::connecting;
    wait_until(after(handshake_timeout_));
    return {};
}

error_code verbs_connection::accept(queue_pair& pair, const connect_options& options)
{
    if (core::forked())
        return make_error_code(errc::forked);
    if (step_ != step::requested)
        return errc::wrong_state;
    if (const auto error = check(pair, options, accept_private_data_max))
        return error;
    if (const auto error = adopt(pair, options.path))
        return error;
    path_.initiator_depth = std::min(path_.initiator_depth, offered_depth_);
    // Ready before the peer learns of it: its first message may follow its answer at once.
    auto error = bring_up();
    if (!error) {
        auto arguments = parameters(options.private_data, static_cast<verbs_queue_pair&>(pair));
        if (rdma_accept(id_, &arguments) != 0)
            error = error_from_errno(errno);
    }
    if (error) {
        pair_to_error();
        release_pair();
        // The kernel knows that the peer gave up, and tells it in no other way.
        return error == make_system_error(EINVAL) ? make_error_code(errc::connection_lost) : error;
    }
    step_ = step::accepting;
    wait_until(after(handshake_timeout_));
    return {};
}

error_code verbs_connection::reject(std::span<const std::byte> private_data)
{
    if (core::forked())
        return make_error_code(errc::forked);
    if (step_ != step::requested)
        return errc::wrong_state;
    if (private_data.size() > reject_private_data_max)
        return errc::private_data_too_long;
    if (rdma_reject(
            id_, private_data.empty() ? nullptr : private_data.data(), static_cast<std::uint8_t>(private_data.size()))
        != 0)
        return error_from_errno(errno);
    step_ = step::ended;
    return {};
}

error_code verbs_connection::disconnect()
{
    if (core::forked())
        return make_error_code(errc::forked);
    if (step_ == step::disconnecting || step_ == step::ended)
        return {};
    if (step_ == step::requested)
        return reject({});
    close();
    return {};
}

void verbs_connection::pair_broke() noexcept
{
    channel_->note_broken(*this);
}

void verbs_connection::on_pair_broken()
{
    if (step_ != step::accepting && step_ != step::established)
        return;
    reason_ = errc::lane_error;
    close();
}

void verbs_connection::close()
{
    pair_to_error();
    const bool connected = step_ == step::established || step_ == step::accepting;
    const bool asked = connected && rdma_disconnect(id_) == 0;
    step_ = step::disconnecting;
    at_deadline_ = connection_event_type::disconnected;
    error_at_deadline_ = {};
    wait_until(asked ? after(disconnect_patience) : channel_->owner().time().now());
}

error_code verbs_connection::migrate(connection_channel& to)
{
    if (step_ != step::requested)
        return errc::wrong_state;
    auto* const target = dynamic_cast<verbs_connection_channel*>(&to);
    if (target == nullptr || &target->owner() != &channel_->owner())
        return errc::invalid_argument;
    if (rdma_migrate_id(id_, &target->native()) != 0)
        return error_from_errno(errno);
    channel_ = target;
    return {};
}

result<path_properties> verbs_connection::path() const
{
    const std::lock_guard lock(channel_->owner().link_mutex());
    if (step_ != step::established || pair_ == nullptr)
        return make_error_code(errc::wrong_state);
    return pair_->path();
}

endpoint verbs_connection::local_endpoint() const noexcept
{
    return to_endpoint(*rdma_get_local_addr(id_));
}

endpoint verbs_connection::remote_endpoint() const noexcept
{
    return to_endpoint(*rdma_get_peer_addr(id_));
}

} // namespace penstock::fabric::verbs
