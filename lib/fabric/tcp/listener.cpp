#include "fabric/tcp/listener.hpp"

#include "fabric/tcp/connection.hpp"

#include <cerrno>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

namespace penstock::fabric::tcp {

result<std::unique_ptr<fabric::listener>> listener::create(
    channel& home, const endpoint& local, const listen_options& options)
{
    if (options.backlog == 0)
        return error_code(errc::invalid_argument);
    auto socket = make_socket(local);
    if (!socket)
        return socket.error();
    const int on = 1;
    ::setsockopt(socket->get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    // Inherited by what is accepted, and the window's scale is fixed by then.
    tune_socket(socket->get(), home.options().send_buffer_bytes, home.options().receive_buffer_bytes);
    if (::bind(socket->get(), local.data(), static_cast<socklen_t>(local.size())) != 0)
        return make_system_error(errno);
    if (::listen(socket->get(), static_cast<int>(std::min(options.backlog, 1U << 15U))) != 0)
        return make_system_error(errno);
    auto made = std::make_unique<listener>(home, std::move(*socket), options);
    if (const auto error = home.enter(*made, made->socket_.get(), EPOLLIN); error)
        return error;
    return std::unique_ptr<fabric::listener>(std::move(made));
}

listener::listener(channel& home, unique_descriptor socket, const listen_options& options)
    : home_(home)
    , options_(options)
    , socket_(std::move(socket))
    , reserve_(::eventfd(0, EFD_CLOEXEC))
    , local_(local_endpoint_of(socket_.get()))
{}

listener::~listener()
{
    home_.leave(*this, socket_.get());
    for (auto& [identifier, each] : pending_)
        home_.leave(*each, each->socket.get());
    home_.forget_requests_of(identifier());
}

void listener::on_ready()
{
    constexpr int accepted_max = 64; // in one turn
    for (int i = 0; i != accepted_max && accept_one(); ++i) {}
}

bool listener::accept_one()
{
    unique_descriptor socket(::accept4(socket_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            shed_one();
            return false;
        }
        return errno == ECONNABORTED || errno == EINTR;
    }
    if (pending_.size() >= options_.backlog)
        return true; // closed: refused
    tune_socket(socket.get(), home_.options().send_buffer_bytes, home_.options().receive_buffer_bytes);
    auto made = std::make_unique<pending>(*this, std::move(socket));
    if (home_.enter(*made, made->socket.get(), EPOLLIN))
        return true;
    home_.set_deadline(*made, saturating_add(home_.time().now(), options_.handshake_timeout));
    pending_.emplace(made->identifier(), std::move(made));
    return true;
}

/// Out of descriptors: the connection is accepted with the one in reserve and closed, or it would keep the listener
/// readable for ever.
void listener::shed_one()
{
    reserve_.reset();
    unique_descriptor(::accept4(socket_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)).reset();
    reserve_ = unique_descriptor(::eventfd(0, EFD_CLOEXEC));
    constexpr auto complaint_interval = std::chrono::seconds(1);
    const auto now = home_.time().now();
    if (last_complaint_ == time_point::min() || now - last_complaint_ >= complaint_interval) {
        last_complaint_ = now;
        home_.options()
            .log.for_component("fabric.tcp")
            .error("out of descriptors: connections are refused; raise `ulimit -n`");
    }
}

void listener::read_request(pending& from)
{
    switch (from.reader.read(from.socket.get())) {
    case handshake_reader::outcome::pending: return;
    case handshake_reader::outcome::closed:
    case handshake_reader::outcome::garbage: refuse(from); return;
    case handshake_reader::outcome::complete: break;
    }
    if (from.reader.header().kind != handshake_kind::connect) {
        refuse(from);
        return;
    }
    home_.leave(from, from.socket.get());
    connection_event event;
    event.type = connection_event_type::connect_request;
    event.private_data = from.reader.private_data();
    event.incoming = std::make_unique<connection>(
        home_, std::move(from.socket), from.reader.header(), identifier(), options_.handshake_timeout);
    pending_.erase(from.identifier());
    home_.tell(std::move(event));
}

void listener::refuse(pending& who)
{
    ++refused_;
    home_.leave(who, who.socket.get());
    pending_.erase(who.identifier());
}

} // namespace penstock::fabric::tcp
