// What travels on the control lane of a connection that is made: the layers' messages, tickets for lanes, pings, the end.

#include "connection_core.hpp"
#include "message.hpp"

#include <algorithm>

namespace penstock::connection {
namespace {

/// A write of nothing: a peer that does not answer it fails the lane.
struct lane_probe {
    lane* on;
    void failed(const fabric::work_completion&) {}
    void complete(const fabric::work_completion&) { on->ended(1); }
};

void probe(lane& on)
{
    auto id = on.owner().poller().start<lane_probe>(&on);
    if (!id) {
        return; // busy enough
    }
    fabric::send_request request;
    request.id = *id | completion::last_request;
    request.operation = fabric::opcode::write;
    if (on.post({&request, 1}).failed()) {
        on.owner().poller().release(*id);
    }
}

} // namespace

void connection_core::watch_control()
{
    control_->on_down([this](error_code why) { control_lost(why); });
    control_->on_message([this](std::span<const std::byte> message) { on_control_message(message); });
    start_heartbeat();
}

void connection_core::on_control(control_kind kind, std::function<void(std::span<const std::byte>)> handler)
{
    auto& call = control_handlers_[static_cast<std::size_t>(kind)];
    call = std::move(handler);
    if (!call) {
        return;
    }
    const auto early = std::exchange(early_, {});
    for (const auto& [what, payload] : early) {
        if (what == kind) {
            call(payload);
        } else {
            early_.emplace_back(what, payload);
        }
    }
}

error_code connection_core::send_control(control_kind kind, std::span<const std::byte> payload)
{
    if (payload.size() > control_payload_max) {
        return errc::invalid_argument;
    }
    if (!control_ || control_->failed()) {
        return errc::connection_lost;
    }
    return send_message(*control_, control_note{kind, payload});
}

void connection_core::on_control_message(std::span<const std::byte> message)
{
    const auto decoded = decode_control(message);
    if (!decoded) {
        control_->fail(decoded.error());
        return;
    }
    if (alive_) {
        alive_->heard(runtime_.time().now());
    }
    switch (decoded->type) {
    case control_type::revoke:
    case control_type::released: {
        const auto self = shared_from_this();
        // A copy: it may replace itself, or close the connection.
        if (const auto call = control_handlers_[static_cast<std::size_t>(decoded->note.kind)]) {
            call(decoded->note.payload);
        } else if (early_.size() != early_control_max) {
            early_.emplace_back(
                decoded->note.kind, std::vector<std::byte>(decoded->note.payload.begin(), decoded->note.payload.end()));
        }
        return;
    }
    case control_type::ping: (void)send_message(*control_, pong{}); return; // no room: another will come
    case control_type::pong: return;
    case control_type::goodbye: end(errc::connection_closed); return;
    case control_type::lane_request:
    case control_type::lane_grant:
    case control_type::lane_denied: lane_message(*decoded); return;
    default: control_->fail(errc::unexpected_message); return;
    }
}

void connection_core::lane_message(const control_message& message)
{
    const bool for_server = message.type == control_type::lane_request;
    if (!properties_.recovers || message.lane >= places_.size() || for_server != (healer_ == nullptr)) {
        control_->fail(errc::unexpected_message);
        return;
    }
    if (message.type == control_type::lane_grant) {
        healer_->granted(message.lane, message.secret);
    } else if (message.type == control_type::lane_denied) {
        healer_->denied(message.lane);
    } else {
        // The client has fenced its side; ours may not know yet.
        places_[message.lane].wanted = true;
        places_[message.lane].secret.reset();
        if (places_[message.lane].current) {
            lane_died(message.lane, errc::connection_lost);
        }
        if (!places_[message.lane].fencing) {
            grant(message.lane);
        }
    }
}

void connection_core::recover_by_dialing(
    const fabric::endpoint& remote, const connect_options& options, const welcome& answer, const identifier& instance)
{
    if (properties_.recovers) {
        healer_ = std::make_unique<healer>(*this, remote, options, answer, instance);
    }
}

error_code connection_core::ask_for_lane(std::size_t index)
{
    return send_message(*control_, lane_request{static_cast<std::uint16_t>(index)});
}

void connection_core::recover_by_granting(std::uint64_t number, const grant_options& options)
{
    number_ = number;
    if (properties_.recovers) {
        granting_ = options;
    }
}

void connection_core::grant(std::size_t index)
{
    place& one = places_[index];
    one.wanted = false;
    if (!control_ || control_->failed()) {
        return;
    }
    const auto lane = static_cast<std::uint16_t>(index);
    if (!granting_ || closing_) {
        (void)send_message(*control_, lane_denied{lane});
        return;
    }
    one.secret = make_identifier(runtime_.random());
    one.ticket_ends = saturating_add(runtime_.time().now(), granting_->ticket_lifetime);
    if (send_message(*control_, lane_grant{lane, *one.secret}).failed()) {
        one.secret.reset(); // the client will ask again
    }
}

bool connection_core::admits(const ticket& presented) noexcept
{
    if (!granting_ || presented.connection != number_ || presented.epoch != properties_.epoch
        || presented.lane >= places_.size()) {
        return false;
    }
    const place& one = places_[presented.lane];
    return one.secret && !one.current && same_secret(*one.secret, presented.secret)
        && runtime_.time().now() < one.ticket_ends;
}

void connection_core::start_heartbeat()
{
    if (alive_options_.enabled) {
        alive_.emplace(alive_options_, runtime_.time().now());
        runtime_.poller().timers().start(heartbeat_, alive_->due());
    }
}

void connection_core::heartbeat()
{
    switch (alive_->on_time(runtime_.time().now())) {
    case liveness::action::dead: control_->fail(errc::connection_lost); return;
    case liveness::action::ping:
        (void)send_message(*control_, ping{}); // no room: others are on their way
        probe_lanes();
        break;
    case liveness::action::none: break;
    }
    runtime_.poller().timers().start(heartbeat_, alive_->due());
}

// Kernels look after sockets; a queue pair of a device finds out only by sending.
void connection_core::probe_lanes()
{
    for (const auto& one : places_) {
        if (one.up && one.current->quiet() && properties_.transport == fabric::transport::verbs) {
            probe(*one.current);
        }
    }
}

void connection_core::close_in_order(
    std::chrono::milliseconds limit, boost::asio::any_completion_handler<void(error_code)> handler)
{
    closing_.swap(handler);
    down_ = nullptr;
    if (front_ != nullptr) {
        front_->live_.fill(nullptr);
    }
    for (const auto& one : places_) {
        if (one.current) {
            one.current->on_quiet([this] { runtime_.poller().timers().start(close_step_, runtime_.time().now()); });
        }
    }
    const auto now = runtime_.time().now();
    runtime_.poller().timers().start(close_limit_, saturating_add(now, limit));
    runtime_.poller().timers().start(close_step_, now);
    runtime_.poller().hold();
    auto bond = std::make_shared<tie>(shared_from_this());
    when_fenced([this, kept = bond.get()] {
        kept->done = true;
        runtime_.drop(kept);
        runtime_.poller().release_hold();
    });
    runtime_.keep(std::move(bond));
}

// First what is in flight, then the goodbye: each is waited for.
void connection_core::step_close()
{
    const bool busy = std::any_of(
        places_.begin(), places_.end(), [](const place& one) { return one.current && !one.current->quiet(); });
    if (busy) {
        return;
    }
    if (!control_ || (goodbye_sent_ && control_->quiet())) {
        end(errc::connection_closed);
    } else if (!std::exchange(goodbye_sent_, true)) {
        control_->on_quiet([this] { runtime_.poller().timers().start(close_step_, runtime_.time().now()); });
        if (send_message(*control_, goodbye{}).failed()) {
            end(errc::connection_closed);
        }
    }
}

} // namespace penstock::connection
