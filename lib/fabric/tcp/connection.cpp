#include "fabric/tcp/connection.hpp"

#include <penstock/core/fork.hpp>

#include "fabric/tcp/device.hpp"
#include "fabric/tcp/queue_pair.hpp"

#include <algorithm>
#include <cerrno>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

namespace penstock::fabric::tcp {

connection::connection(channel& home, const endpoint& remote, const resolve_options& options)
    : home_(&home)
    , state_(state::resolving)
    , local_(options.local)
    , remote_(remote)
    , timeout_(options.handshake_timeout)
{}

connection::connection(channel& home, unique_descriptor socket, const handshake_header& request, std::uint64_t origin,
    std::chrono::milliseconds timeout)
    : home_(&home)
    , state_(state::requested)
    , local_(local_endpoint_of(socket.get()))
    , remote_(remote_endpoint_of(socket.get()))
    , timeout_(timeout)
    , origin_(origin)
    , socket_(std::move(socket))
    , request_(request)
{}

connection::~connection()
{
    if (core::forked())
        return;
    home_->leave(*this, descriptor());
    home_->forget(this);
    if (!link_)
        return;
    link_->detach();
    if (handed_over_)
        link_->request_close();
}

result<path_properties> connection::path() const
{
    if (state_ != state::established)
        return make_error_code(errc::wrong_state);
    path_properties has;
    has.options = read_path(link_->socket());
    const auto& agreed = link_->terms();
    has.options.initiator_depth = agreed.initiator_depth;
    has.options.responder_resources = agreed.responder_resources;
    has.options.rnr_retry_count = agreed.rnr_retry_count;
    has.options.rnr_delay = std::chrono::microseconds(agreed.rnr_delay_microseconds);
    return has;
}

std::string_view connection::device_name() const noexcept
{
    return tcp::device_name;
}

void connection::tell(connection_event_type type, error_code error, const received_private_data& data)
{
    connection_event event;
    event.type = type;
    event.source = this;
    event.error = error;
    event.private_data = data;
    home_->tell(std::move(event));
}

void connection::end(connection_event_type why, error_code error, const received_private_data& data)
{
    state_ = state::ended;
    home_->leave(*this, descriptor());
    if (!handed_over_) {
        socket_.reset();
        if (link_)
            link_->unclaim(); // the queue pair is still in INIT
    }
    tell(why, error, data);
}

link_terms connection::terms(std::uint8_t peer_resources) const noexcept
{
    constexpr std::int64_t delay_max = 1'000'000;
    link_terms agreed;
    agreed.initiator_depth = std::min(path_.initiator_depth, peer_resources);
    agreed.responder_resources = path_.responder_resources;
    agreed.rnr_retry_count = path_.rnr_retry_count;
    agreed.rnr_delay_microseconds
        = static_cast<std::uint32_t>(std::clamp<std::int64_t>(path_.rnr_delay.count(), 0, delay_max));
    return agreed;
}

handshake_header connection::header(handshake_kind kind) const noexcept
{
    handshake_header made;
    made.kind = kind;
    made.initiator_depth = path_.initiator_depth;
    made.responder_resources = path_.responder_resources;
    made.queue_pair_number = queue_pair_number_;
    return made;
}

error_code connection::take_pair(fabric::queue_pair& pair, const connect_options& options, std::size_t private_data_max)
{
    if (options.private_data.size() > private_data_max)
        return errc::private_data_too_long;
    if (options.path.retry_count > 7 || options.path.rnr_retry_count > 7 || options.path.unacknowledged_max.count() < 0
        || options.path.keep_alive.count() < 0 || options.path.keep_alive_probes == 0)
        return errc::invalid_argument;
    if (pair.state() != queue_pair_state::init)
        return errc::wrong_state;
    const auto& offered = static_cast<queue_pair&>(pair).shared_link();
    if (!offered->claim())
        return errc::wrong_state;
    link_ = offered;
    static_cast<queue_pair&>(pair).prepare(options.path.responder_resources);
    path_ = options.path;
    queue_pair_number_ = pair.number();
    return {};
}

error_code connection::connect(fabric::queue_pair& pair, const connect_options& options)
{
    if (core::forked())
        return error_code(errc::forked);
    if (state_ != state::resolved)
        return errc::wrong_state;
    if (const auto error = take_pair(pair, options, connect_private_data_max); error)
        return error;
    std::ranges::copy(options.private_data, private_data_.begin());
    private_data_bytes_ = options.private_data.size();
    if (const auto error = begin_connect(); error) {
        link_->unclaim();
        link_.reset();
        socket_.reset();
        return error;
    }
    return {};
}

error_code connection::begin_connect()
{
    auto made = make_socket(remote_);
    if (!made)
        return made.error();
    socket_ = std::move(*made);
    const auto& options = home_->options();
    tune_socket(socket_.get(), options.send_buffer_bytes, options.receive_buffer_bytes);
    apply_path(socket_.get(), path_);
    const bool bound = local_.port() != 0 || !local_.address().is_unspecified();
    if (bound && ::bind(socket_.get(), local_.data(), static_cast<socklen_t>(local_.size())) != 0)
        return make_system_error(errno);
    const auto connected = ::connect(socket_.get(), remote_.data(), static_cast<socklen_t>(remote_.size()));
    const auto failure = connected == 0 || errno == EINPROGRESS ? 0 : errno;
    if (failure == ECONNREFUSED) {
        end(connection_event_type::rejected, errc::refused);
        return {};
    }
    if (failure == ENETUNREACH || failure == EHOSTUNREACH) {
        end(connection_event_type::unreachable, make_system_error(failure));
        return {};
    }
    if (failure != 0)
        return make_system_error(failure);
    if (const auto error = home_->enter(*this, socket_.get(), EPOLLOUT); error)
        return error;
    home_->set_deadline(*this, saturating_add(home_->time().now(), timeout_));
    state_ = state::connecting;
    return {};
}

void connection::on_ready()
{
    switch (state_) {
    case state::connecting: finish_connect(); break;
    case state::asked: read_answer(); break;
    case state::accepted:
        if (link_->take_ready() == link::ready_result::dead) {
            link_->note_peer_gone();
            link_->tell(connection_event_type::disconnected);
            home_->ignore(link_->socket());
        }
        break;
    case state::established: { // the peer has closed its end, or died; unless the event is older than the state
        pollfd seen{link_->socket(), POLLRDHUP, 0};
        if (::poll(&seen, 1, 0) < 1)
            break;
        link_->note_peer_gone();
        link_->tell(connection_event_type::disconnected);
        home_->ignore(link_->socket());
        break;
    }
    case state::resolving:
    case state::resolved:
    case state::requested:
    case state::ended: break;
    }
}

void connection::finish_connect()
{
    int failure = 0;
    socklen_t size = sizeof failure;
    if (::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &failure, &size) != 0)
        failure = errno;
    if (failure == ECONNREFUSED) {
        end(connection_event_type::rejected, errc::refused);
        return;
    }
    if (failure != 0) {
        end(connection_event_type::unreachable, make_system_error(failure));
        return;
    }
    local_ = local_endpoint_of(socket_.get());
    if (!write_handshake(socket_.get(), header(handshake_kind::connect), {private_data_.data(), private_data_bytes_})) {
        end(connection_event_type::unreachable, errc::connection_lost);
        return;
    }
    state_ = state::asked;
    home_->change(*this, socket_.get(), EPOLLIN);
    home_->set_deadline(*this, saturating_add(home_->time().now(), timeout_));
}

void connection::read_answer()
{
    switch (answer_.read(socket_.get())) {
    case handshake_reader::outcome::pending: return;
    case handshake_reader::outcome::closed: end(connection_event_type::rejected, errc::refused); return;
    case handshake_reader::outcome::garbage: end(connection_event_type::failed, errc::bad_magic); return;
    case handshake_reader::outcome::complete: break;
    }
    const auto& answer = answer_.header();
    if (answer.kind == handshake_kind::reject)
        end(connection_event_type::rejected, errc::refused, answer_.private_data());
    else if (answer.kind != handshake_kind::accept)
        end(connection_event_type::failed, errc::unexpected_message);
    else
        establish(answer);
}

void connection::establish(const handshake_header& answer)
{
    if (link_->abandoned() || !write_handshake(socket_.get(), header(handshake_kind::ready), {})) {
        end(connection_event_type::failed, errc::connection_lost);
        return;
    }
    home_->set_deadline(*this, time_point_never);
    state_ = state::established;
    home_->change(*this, socket_.get(), EPOLLRDHUP);
    link_->attach(home_->inbox(), identifier());
    handed_over_ = true;
    link_->open(std::move(socket_), terms(answer.responder_resources), link::phase::established);
    tell(connection_event_type::established, {}, answer_.private_data());
}

error_code connection::accept(fabric::queue_pair& pair, const connect_options& options)
{
    if (core::forked())
        return error_code(errc::forked);
    if (state_ != state::requested)
        return errc::wrong_state;
    if (const auto error = take_pair(pair, options, accept_private_data_max); error)
        return error;
    if (const auto error = home_->enter(*this, socket_.get(), EPOLLIN); error) {
        link_->unclaim();
        link_.reset();
        return error;
    }
    apply_path(socket_.get(), path_);
    // A peer that is gone by now is found when its READY is read.
    write_handshake(socket_.get(), header(handshake_kind::accept), options.private_data);
    home_->set_deadline(*this, saturating_add(home_->time().now(), timeout_));
    state_ = state::accepted;
    link_->attach(home_->inbox(), identifier());
    handed_over_ = true;
    link_->open(std::move(socket_), terms(request_.responder_resources), link::phase::accepted);
    return {};
}

error_code connection::reject(std::span<const std::byte> private_data)
{
    if (core::forked())
        return error_code(errc::forked);
    if (state_ != state::requested)
        return errc::wrong_state;
    if (private_data.size() > reject_private_data_max)
        return errc::private_data_too_long;
    write_handshake(socket_.get(), header(handshake_kind::reject), private_data);
    state_ = state::ended;
    socket_.reset();
    return {};
}

error_code connection::disconnect()
{
    if (core::forked())
        return error_code(errc::forked);
    if (handed_over_) {
        link_->request_close();
        link_->tell(connection_event_type::disconnected);
    } else if (state_ != state::ended) {
        end(connection_event_type::disconnected, errc::cancelled);
    }
    return {};
}

error_code connection::migrate(connection_channel& to)
{
    if (state_ != state::requested)
        return errc::wrong_state;
    home_ = static_cast<channel*>(&to);
    return {};
}

void connection::on_timeout()
{
    if (state_ != state::accepted) {
        end(connection_event_type::unreachable, errc::unreachable);
        return;
    }
    home_->ignore(link_->socket());
    link_->request_close();
    link_->tell_once_only();
    state_ = state::ended;
    tell(connection_event_type::unreachable, errc::unreachable);
}

void connection::on_notice(connection_event_type type)
{
    if (type == connection_event_type::established) {
        if (state_ != state::accepted)
            return;
        state_ = state::established;
        home_->set_deadline(*this, time_point_never);
        home_->change(*this, link_->socket(), EPOLLRDHUP);
    } else {
        if (state_ == state::ended)
            return;
        state_ = state::ended;
        home_->set_deadline(*this, time_point_never);
        home_->ignore(link_->socket());
    }
    tell(type, type == connection_event_type::disconnected ? error_code(errc::connection_closed) : error_code());
}

} // namespace penstock::fabric::tcp
