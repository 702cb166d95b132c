// Who is let in: control lanes and their handshakes, data lanes with their tickets.

#include "acceptor_state.hpp"
#include "lane_shapes.hpp"
#include "message.hpp"

#include <algorithm>

namespace penstock::connection {

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

bool acceptor::state::room_for(const boost::asio::ip::address& from) const
{
    const auto found = addresses.find(from);
    return options.connections_per_address_max == 0 || found == addresses.end()
        || found->second < options.connections_per_address_max;
}

void acceptor::state::leave(const boost::asio::ip::address& from) noexcept
{
    if (const auto found = addresses.find(from); found != addresses.end() && --found->second == 0) {
        addresses.erase(found);
    }
}

void acceptor::state::open_control(fabric::connection_event& event)
{
    const auto remote = event.incoming->remote_endpoint();
    const bool too_many = half_opens.size() >= options.half_open_max;
    if (too_many || !room_for(remote.address())) {
        owner.log().warning(too_many ? "connection refused: too many are in their handshake"
                                     : "connection refused: too many of " + remote.address().to_string());
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
    ++addresses[remote.address()];
    half_open& made = half_opens.back();
    made.control = std::move(*control);
    made.number = next_number++;
    made.remote = remote;
    std::array<identifier, lanes_max> secrets;
    std::generate(
        secrets.begin(), secrets.begin() + options.lanes_max, [this] { return make_identifier(owner.random()); });
    made.handshake = std::make_unique<server_handshake>(offer, made.number, secrets);
    made.timeout.set_action([this, &made] { drop(made, true); });
    owner.poller().timers().start(made.timeout, saturating_add(owner.time().now(), options.handshake_timeout));
    made.control->on_message([this, &made](std::span<const std::byte> bytes) { message(made, bytes); });
    made.control->on_down([this, &made](error_code) { drop(made, true); });
    auto* const link = event.incoming.get();
    made.control->attach(std::move(event.incoming), [](const fabric::connection_event&) {});
    fabric::connect_options wanted;
    wanted.path.unacknowledged_max = control_unacknowledged_max;
    if (link->accept(made.control->pair(), wanted).failed()) {
        drop(made, true);
    }
}

void acceptor::state::message(half_open& from, std::span<const std::byte> bytes)
{
    switch (from.handshake->on_message(bytes)) {
    case server_handshake::action::send_welcome: hello_came(from); return;
    case server_handshake::action::send_refused:
        // The client closes when it has read the answer; the timeout ends one that does not.
        if (send_message(*from.control, refused{from.handshake->error()}).failed()) {
            drop_later(from, true);
        }
        return;
    case server_handshake::action::fail: drop_later(from, true); return;
    }
}

half_open* acceptor::state::half_open_by_number(std::uint64_t number) noexcept
{
    const auto found = std::find_if(
        half_opens.begin(), half_opens.end(), [number](const half_open& one) { return one.number == number; });
    return found == half_opens.end() ? nullptr : &*found;
}

// A client that comes back: what it had before is fenced before it is welcome. Its attempts so far are void.
void acceptor::state::hello_came(half_open& from)
{
    const hello& opening = from.handshake->opening();
    for (auto& other : half_opens) {
        if (&other != &from && other.handshake->opening().instance == opening.instance) {
            const bool older = other.handshake->opening().epoch < opening.epoch;
            drop_later(older ? other : from, true);
            if (!older) {
                return;
            }
        }
    }
    const auto known = instances.find(opening.instance);
    const auto before = known == instances.end() ? nullptr : open[known->second].lock();
    if (!before) {
        send_welcome(from);
    } else if (before->properties().epoch >= opening.epoch) {
        drop_later(from, true); // out of date
    } else {
        before->end(errc::connection_lost);
        before->when_fenced([weak = weak_from_this(), number = from.number] {
            const auto self = weak.lock();
            if (auto* const waiting = self ? self->half_open_by_number(number) : nullptr; waiting != nullptr) {
                self->send_welcome(*waiting);
            }
        });
    }
}

void acceptor::state::send_welcome(half_open& to)
{
    if (counters.open >= options.connections_max) {
        owner.log().warning("connection refused: the limit on connections is reached");
        if (send_message(*to.control, refused{errc::too_many_connections}).failed()) {
            drop_later(to, true);
        }
        return;
    }
    to.lanes.resize(to.handshake->answer().lanes);
    if (send_message(*to.control, to.handshake->answer()).failed()) {
        drop_later(to, true);
    }
}

void acceptor::state::open_data(fabric::transport kind, fabric::connection_event& event)
{
    const auto presented = decode_ticket(event.private_data.bytes());
    if (!presented || event.incoming->device_name() != owner.device(kind)->device->info().name) {
        refuse(*event.incoming);
        return;
    }
    auto* const half = half_open_by_number(presented->connection);
    if (half != nullptr && half->handshake->admits(*presented) && half->lanes.size() > presented->lane
        && half->handshake->answer().transport == kind && counters.open < options.connections_max) {
        open_first_lane(*half, presented->lane, event);
        return;
    }
    const auto found = open.find(presented->connection);
    const auto whole = found == open.end() ? nullptr : found->second.lock();
    if (whole && whole->admits(*presented) && whole->properties().transport == kind) {
        open_lane_again(whole, presented->lane, event);
        return;
    }
    refuse(*event.incoming);
}

result<std::shared_ptr<lane>> acceptor::state::create_lane(fabric::transport kind, std::uint32_t depth)
{
    auto made = lane::create(owner, *owner.device(kind), server_data_lane_options(depth, options.messages));
    if (!made) {
        owner.log().warning("lane refused: " + made.error().message());
        return made.error();
    }
    return std::shared_ptr<lane>(std::move(*made));
}

void acceptor::state::accept_lane(lane& opened, fabric::connection& link)
{
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

void acceptor::state::open_first_lane(half_open& which, std::size_t index, fabric::connection_event& event)
{
    const auto& answer = which.handshake->answer();
    auto created = create_lane(answer.transport, answer.depth);
    if (!created) {
        refuse(*event.incoming);
        drop(which, false);
        return;
    }
    const auto opened = *created;
    auto& link = *event.incoming;
    opened->attach(std::move(event.incoming),
        [weak = weak_from_this(), number = which.number, on = opened.get()](const fabric::connection_event& about) {
            if (about.type != fabric::connection_event_type::established) {
                on->fail(errc::connection_lost);
            } else if (const auto self = weak.lock()) {
                self->first_lane_established(number);
            }
        });
    opened->on_down([this, &which](error_code) { drop(which, true); });
    which.lanes[index] = opened;
    if (which.handshake->on_lane(index)) {
        which.control->park_messages();
    }
    accept_lane(*opened, link);
}

// The connection is there when all of its lanes can be used. Messages that come meanwhile are parked by their lanes.
void acceptor::state::first_lane_established(std::uint64_t number)
{
    auto* const which = half_open_by_number(number);
    if (which == nullptr || !which->handshake->on_established()) {
        return;
    }
    if (counters.open >= options.connections_max) { // others were faster since it was welcome
        drop_later(*which, true);
        return;
    }
    complete(*which);
}

void acceptor::state::open_lane_again(
    const std::shared_ptr<connection_core>& whole, std::size_t index, fabric::connection_event& event)
{
    const auto created = create_lane(whole->properties().transport, whole->properties().depth);
    if (!created) {
        refuse(*event.incoming);
        return;
    }
    auto& opened = **created;
    auto& link = *event.incoming;
    opened.attach(std::move(event.incoming),
        [weak = std::weak_ptr(whole), index, &opened](const fabric::connection_event& about) {
            if (about.type != fabric::connection_event_type::established) {
                opened.fail(errc::connection_lost);
            } else if (const auto core = weak.lock()) {
                core->mark_up(index);
            }
        });
    whole->join(index, *created);
    accept_lane(opened, link);
}

void acceptor::state::complete(half_open& which)
{
    const auto& answer = which.handshake->answer();
    const auto& instance = which.handshake->opening().instance;
    connection_properties made;
    made.transport = answer.transport;
    made.transport_reason = answer.reason;
    made.device = which.lanes.front()->device().device->info().name;
    made.remote = which.remote;
    made.depth = answer.depth;
    made.transfer_bytes_max = answer.transfer_bytes_max;
    made.lanes = answer.lanes;
    made.epoch = answer.epoch;
    made.recovers = (answer.features & feature_recovery) != 0;
    made.peer_instance = instance;
    auto core = std::make_shared<connection_core>(
        owner, std::move(made), std::move(which.control), std::move(which.lanes), options.liveness);
    core->recover_by_granting(which.number, {options.handshake_timeout, options.recovery.give_up_after});
    open[which.number] = core;
    instances[instance] = which.number;
    core->when_fenced([weak = weak_from_this(), number = which.number, instance] {
        if (const auto self = weak.lock()) {
            self->open.erase(number);
            const auto last = self->instances.find(instance);
            if (last != self->instances.end() && last->second == number) {
                self->instances.erase(last);
            }
        }
    });
    auto whole = std::make_unique<connection>(std::move(core));
    const auto address = which.remote.address();
    half_opens.remove_if([&](const half_open& other) { return &other == &which; });
    ++counters.accepted;
    ++counters.open;
    whole->on_closed([self = shared_from_this(), address] {
        --self->counters.open;
        self->leave(address);
    });
    const auto call = accepted; // a copy: it may destroy the acceptor, and itself with it
    call(std::move(whole));
}

void acceptor::state::drop_later(half_open& which, bool count)
{
    which.number = 0; // no ticket of its is good any more
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
    leave(dropped.front().remote.address());
    for (auto& opened : dropped.front().lanes) {
        if (opened) {
            owner.retire(std::move(opened));
        }
    }
    owner.retire(std::move(dropped.front().control));
}

} // namespace penstock::connection
