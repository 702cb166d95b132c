#include <penstock/connection/acceptor.hpp>

#include "connection_core.hpp"
#include "event_router.hpp"
#include "handshake.hpp"
#include "lane_shapes.hpp"
#include "message.hpp"

#include <list>

namespace penstock::connection {
namespace {

/// A client in its handshake: its control lane, and the ticket it was given.
struct half_open {
    std::unique_ptr<lane> control;
    std::unique_ptr<server_handshake> handshake;
    completion::timer timeout;
    fabric::endpoint remote;
    std::uint64_t number = 0;
};

} // namespace

struct acceptor::state : std::enable_shared_from_this<acceptor::state> {
    state(runtime& rt, const acceptor_options& wanted, handler call)
        : owner(rt)
        , options(wanted)
        , accepted(std::move(call))
    {}

    void listen();
    void stop();
    void request(fabric::transport kind, fabric::connection_event& event);
    void open_control(fabric::connection_event& event);
    void open_data(fabric::transport kind, fabric::connection_event& event);
    void message(half_open& from, std::span<const std::byte> bytes);
    void refuse(fabric::connection& incoming);
    void drop_later(half_open& which, bool count);
    void drop(const half_open& which, bool count);
    void complete(half_open& which, std::unique_ptr<lane> data);

    runtime& owner;
    acceptor_options options;
    handler accepted;
    std::unique_ptr<fabric::listener> tcp_listener;
    std::unique_ptr<fabric::listener> verbs_listener;
    std::string transports;
    server_handshake::offer offer;
    std::list<half_open> half_opens;
    acceptor_statistics counters;
    std::uint64_t next_number = 1;
};

void acceptor::state::listen()
{
    if (options.depth == 0 || options.transfer_bytes_max == 0) {
        throw system_error(make_error_code(errc::invalid_argument), "acceptor options");
    }
    auto& tcp = *owner.router(fabric::transport::tcp);
    tcp_listener = tcp.channel().listen(options.listen).value();
    const auto port = tcp_listener->local_endpoint().port();
    transports = "tcp";
    offer.verbs_reason = owner.verbs_reason();
    if (options.transport == transport_choice::tcp) {
        transports = "tcp (tcp was asked for)";
    } else if (auto* const verbs = owner.router(fabric::transport::verbs); verbs != nullptr) {
        auto listener = verbs->channel().listen({options.listen.address(), port});
        if (listener) {
            verbs_listener = std::move(*listener);
            offer.verbs_port = verbs_listener->local_endpoint().port();
            transports = "verbs on " + owner.device(fabric::transport::verbs)->device->info().name;
            transports += options.transport == transport_choice::verbs ? "" : ", tcp";
        } else {
            offer.verbs_reason += ", but listening on it failed: " + listener.error().message();
            owner.log().warning(offer.verbs_reason);
            transports = "tcp (" + offer.verbs_reason + ")";
        }
    } else {
        transports = "tcp (" + owner.verbs_reason() + ")";
    }
    if (options.transport == transport_choice::verbs && !verbs_listener) {
        throw system_error(make_error_code(errc::no_device), offer.verbs_reason);
    }
    offer.allows = options.transport;
    offer.has_verbs = verbs_listener != nullptr;
    offer.tcp_port = port;
    offer.depth = options.depth;
    offer.transfer_bytes_max = options.transfer_bytes_max;
    offer.instance = make_identifier(owner.random());
    // Last, because nothing may stay behind when this throws.
    tcp.watch_port(port, [this](fabric::connection_event& event) { request(fabric::transport::tcp, event); });
    if (verbs_listener) {
        owner.router(fabric::transport::verbs)->watch_port(offer.verbs_port, [this](fabric::connection_event& event) {
            request(fabric::transport::verbs, event);
        });
    }
    owner.poller().hold();
}

void acceptor::state::stop()
{
    owner.router(fabric::transport::tcp)->unwatch_port(offer.tcp_port);
    if (verbs_listener) {
        owner.router(fabric::transport::verbs)->unwatch_port(offer.verbs_port);
    }
    tcp_listener.reset();
    verbs_listener.reset();
    while (!half_opens.empty()) {
        drop(half_opens.front(), false);
    }
    accepted = nullptr;
    owner.poller().release_hold();
}

void acceptor::state::refuse(fabric::connection& incoming)
{
    ++counters.refused;
    (void)incoming.reject({});
}

void acceptor::state::request(fabric::transport kind, fabric::connection_event& event)
{
    const auto self = shared_from_this(); // `accepted` may destroy the acceptor
    switch (classify(event.private_data.bytes())) {
    case greeting::control:
        if (kind == fabric::transport::tcp) {
            open_control(event);
            return;
        }
        break;
    case greeting::data: open_data(kind, event); return;
    case greeting::none: break;
    }
    refuse(*event.incoming);
}

void acceptor::state::open_control(fabric::connection_event& event)
{
    if (half_opens.size() >= options.half_open_max) {
        owner.log().warning("connection refused: too many are in their handshake");
        refuse(*event.incoming);
        return;
    }
    auto control = lane::create(owner, *owner.device(fabric::transport::tcp), control_lane_options());
    if (!control) {
        owner.log().warning("connection refused: " + control.error().message());
        refuse(*event.incoming);
        return;
    }
    half_opens.emplace_back();
    half_open& made = half_opens.back();
    made.control = std::move(*control);
    made.number = next_number++;
    made.remote = event.incoming->remote_endpoint();
    ticket admission;
    admission.connection = made.number;
    admission.epoch = 1;
    admission.secret = make_identifier(owner.random());
    made.handshake = std::make_unique<server_handshake>(offer, admission);
    made.timeout.set_action([this, &made] { drop(made, true); });
    owner.poller().timers().start(made.timeout, saturating_add(owner.time().now(), options.handshake_timeout));
    made.control->on_message([this, &made](std::span<const std::byte> bytes) { message(made, bytes); });
    made.control->on_down([this, &made](error_code) { drop(made, true); });
    auto* const link = event.incoming.get();
    made.control->attach(std::move(event.incoming), [](const fabric::connection_event&) {});
    if (link->accept(made.control->pair(), {}).failed()) {
        drop(made, true);
    }
}

void acceptor::state::message(half_open& from, std::span<const std::byte> bytes)
{
    switch (from.handshake->on_message(bytes)) {
    case server_handshake::action::send_welcome:
        if (counters.open >= options.connections_max) {
            ++counters.refused;
            owner.log().warning("connection refused: the limit on connections is reached");
            if (send_message(*from.control, refused{errc::too_many_connections}).failed()) {
                drop_later(from, false);
            }
            return;
        }
        if (send_message(*from.control, from.handshake->answer()).failed()) {
            drop_later(from, true);
        }
        return;
    case server_handshake::action::send_refused:
        // The client closes when it has read the answer; the timeout ends one that does not.
        if (send_message(*from.control, refused{from.handshake->error()}).failed()) {
            drop_later(from, true);
        }
        return;
    case server_handshake::action::fail: drop_later(from, true); return;
    }
}

void acceptor::state::open_data(fabric::transport kind, fabric::connection_event& event)
{
    const auto presented = decode_ticket(event.private_data.bytes());
    const auto found = std::find_if(half_opens.begin(), half_opens.end(), [&](const half_open& which) {
        return presented && which.handshake->admits(*presented) && which.handshake->answer().transport == kind;
    });
    if (found == half_opens.end() || counters.open >= options.connections_max
        || event.incoming->device_name() != owner.device(kind)->device->info().name) {
        refuse(*event.incoming);
        return;
    }
    auto data = lane::create(
        owner, *owner.device(kind), server_data_lane_options(found->handshake->answer().depth, options.messages));
    if (!data) {
        owner.log().warning("connection refused: " + data.error().message());
        refuse(*event.incoming);
        drop(*found, false);
        return;
    }
    lane& opened = **data;
    auto& link = *event.incoming;
    opened.attach(std::move(event.incoming), [](const fabric::connection_event&) {});
    // The owner sets its handler before the lane is accepted: the first request may come before `established`.
    complete(*found, std::move(*data));
    if (opened.failed()) {
        return; // closed already by its owner; it lives until it has been fenced
    }
    fabric::connect_options wanted;
    wanted.path.initiator_depth = control_lane_options().reads;
    wanted.path.responder_resources = control_lane_options().reads;
    wanted.path.rnr_retry_count = 0; // with credits there is always a receive: a peer without one breaks the protocol
    if (const auto error = link.accept(opened.pair(), wanted); error.failed()) {
        opened.fail(error);
    }
}

void acceptor::state::complete(half_open& which, std::unique_ptr<lane> data)
{
    const auto& answer = which.handshake->answer();
    connection_properties made;
    made.transport = answer.transport;
    made.transport_reason = answer.reason;
    made.device = data->device().device->info().name;
    made.remote = which.remote;
    made.depth = answer.depth;
    made.transfer_bytes_max = answer.transfer_bytes_max;
    made.peer_instance = which.handshake->opening().instance;
    auto whole = std::make_unique<connection>(std::make_shared<connection_core>(
        owner, std::move(made), std::move(which.control), connection_core::lanes{std::move(data)}));
    half_opens.remove_if([&](const half_open& other) { return &other == &which; });
    ++counters.accepted;
    ++counters.open;
    whole->on_closed([self = shared_from_this()] { --self->counters.open; });
    const auto call = accepted; // a copy: it may destroy the acceptor, and itself with it
    call(std::move(whole));
}

void acceptor::state::drop_later(half_open& which, bool count)
{
    which.timeout.set_action([this, &which, count] { drop(which, count); });
    owner.poller().timers().start(which.timeout, owner.time().now());
}

void acceptor::state::drop(const half_open& which, bool count)
{
    counters.refused += count ? 1 : 0;
    const auto found
        = std::find_if(half_opens.begin(), half_opens.end(), [&](const half_open& other) { return &other == &which; });
    std::list<half_open> dropped; // outlives this call: `which` may be what called it
    dropped.splice(dropped.begin(), half_opens, found);
    owner.retire(std::move(dropped.front().control));
}

acceptor::acceptor(runtime& rt, const acceptor_options& options, handler accepted)
    : state_(std::make_shared<state>(rt, options, std::move(accepted)))
{
    state_->listen();
}

acceptor::~acceptor()
{
    state_->stop();
}

fabric::endpoint acceptor::local_endpoint() const noexcept
{
    return state_->tcp_listener->local_endpoint();
}

const std::string& acceptor::transports() const noexcept
{
    return state_->transports;
}

acceptor_statistics acceptor::statistics() const noexcept
{
    auto counted = state_->counters;
    counted.refused += state_->tcp_listener->refused_handshakes();
    if (state_->verbs_listener) {
        counted.refused += state_->verbs_listener->refused_handshakes();
    }
    return counted;
}

} // namespace penstock::connection
