#include <penstock/connection/acceptor.hpp>

#include "acceptor_state.hpp"
#include "event_router.hpp"

namespace penstock::connection {

void acceptor::state::check_options() const
{
    if (options.depth == 0 || options.transfer_bytes_max == 0 || options.lanes_max == 0 || options.lanes_max > lanes_max
        || options.liveness.interval.count() <= 0) {
        throw system_error(make_error_code(errc::invalid_argument), "acceptor options");
    }
}

void acceptor::state::listen_by_verbs(std::uint16_t port)
{
    auto listener = owner.router(fabric::transport::verbs)->channel().listen({options.listen.address(), port});
    if (listener) {
        verbs_listener = std::move(*listener);
        transports = "verbs on " + owner.device(fabric::transport::verbs)->device->info().name;
        transports += options.transport == transport_choice::verbs ? "" : ", tcp";
    } else {
        offer.verbs_reason += ", but listening on it failed: " + listener.error().message();
        owner.log().warning(offer.verbs_reason);
        transports = "tcp (" + offer.verbs_reason + ")";
    }
}

void acceptor::state::make_offer()
{
    offer.allows = options.transport;
    offer.has_verbs = verbs_listener != nullptr;
    offer.tcp_port = tcp_listener->local_endpoint().port();
    offer.verbs_port = verbs_listener ? verbs_listener->local_endpoint().port() : std::uint16_t{0};
    offer.depth = options.depth;
    offer.transfer_bytes_max = options.transfer_bytes_max;
    offer.lanes = options.lanes_max;
    offer.features = options.recovery.enabled ? feature_recovery : 0;
    offer.instance = make_identifier(owner.random());
}

void acceptor::state::listen()
{
    check_options();
    auto& tcp = *owner.router(fabric::transport::tcp);
    tcp_listener = tcp.channel().listen(options.listen).value();
    transports = "tcp";
    offer.verbs_reason = owner.verbs_reason();
    auto* const verbs = owner.router(fabric::transport::verbs);
    if (options.transport == transport_choice::tcp) {
        transports = "tcp (tcp was asked for)";
    } else if (verbs != nullptr) {
        listen_by_verbs(tcp_listener->local_endpoint().port());
    } else {
        transports = "tcp (" + owner.verbs_reason() + ")";
    }
    if (options.transport == transport_choice::verbs && !verbs_listener) {
        throw system_error(make_error_code(errc::no_device), offer.verbs_reason);
    }
    make_offer();
    // Last, because nothing may stay behind when this throws.
    tcp.watch_endpoint(tcp_listener->local_endpoint(),
        [this](fabric::connection_event& event) { request(fabric::transport::tcp, event); });
    if (verbs_listener) {
        verbs->watch_endpoint(verbs_listener->local_endpoint(),
            [this](fabric::connection_event& event) { request(fabric::transport::verbs, event); });
    }
    owner.poller().hold();
}

void acceptor::state::stop()
{
    owner.router(fabric::transport::tcp)->unwatch_endpoint(tcp_listener->local_endpoint());
    if (verbs_listener) {
        owner.router(fabric::transport::verbs)->unwatch_endpoint(verbs_listener->local_endpoint());
    }
    tcp_listener.reset();
    verbs_listener.reset();
    while (!half_opens.empty()) {
        drop(half_opens.front(), false);
    }
    for (const auto& [number, core] : open) {
        if (const auto whole = core.lock()) {
            whole->stop_granting();
        }
    }
    accepted = nullptr;
    owner.poller().release_hold();
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
