#include "fixture.hpp"

#include <poll.h>

#include <algorithm>
#include <cstring>

using namespace penstock;
using namespace penstock::fabric;
using namespace penstock::fabric::test;
using event = connection_event_type;

namespace {

bool begins_with(const received_private_data& data, std::string_view text)
{
    const auto wanted = bytes_of(text);
    return data.size >= wanted.size() && std::equal(wanted.begin(), wanted.end(), data.bytes().begin());
}

bool all_flushed(fabric_fixture& fixture, std::uint32_t count)
{
    for (std::uint32_t i = 0; i < count; ++i)
        if (fixture.next().status != completion_status::flushed)
            return false;
    return true;
}

/// Moves when it is told to.
class manual_clock final : public penstock::clock {
public:
    time_point now() noexcept override { return now_; }
    void advance(duration span) noexcept { now_ += span; }

private:
    time_point now_{1h};
};

} // namespace

TEST_CASE_METHOD(fabric_fixture, "an answer that waits is taken before a deadline that passed", "[verbs][softroce]")
{
    manual_clock time;
    verbs_options with;
    with.time = &time;
    const auto timed = make_verbs_provider(with);
    side slow(*timed);
    const auto device = timed->open().value();
    const auto home = device->allocate_protection_domain().value();
    const auto queue = device->create_completion_queue(1'024).value();
    auto from = options();
    from.send_completions = queue.get();
    from.receive_completions = queue.get();
    auto door = passive.channel->listen(address).value();
    auto near = home->create_queue_pair(from).value();
    auto far = make_pair();
    // Every answer finds its deadline long passed.
    const auto answer = [&] {
        slow.events.clear();
        while (slow.events.empty()) {
            pollfd waiting{slow.channel->descriptor(), POLLIN, 0};
            REQUIRE(::poll(&waiting, 1, 10'000) == 1);
            time.advance(1h);
            slow.poll();
        }
        return static_cast<int>(slow.events.front().type);
    };
    auto outgoing = slow.channel->resolve(door->local_endpoint()).value();
    REQUIRE(answer() == static_cast<int>(event::resolved));
    CHECK(outgoing->connect(*far, {}) == errc::invalid_argument); // another provider's
    REQUIRE_FALSE(outgoing->connect(*near, {}));
    auto incoming = request().incoming;
    REQUIRE_FALSE(incoming->accept(*far, {}));
    REQUIRE(answer() == static_cast<int>(event::established));
    // Without an answer the deadline counts.
    auto second = slow.channel->resolve(door->local_endpoint()).value();
    REQUIRE(answer() == static_cast<int>(event::resolved));
    auto other = home->create_queue_pair(from).value();
    REQUIRE_FALSE(second->connect(*other, {}));
    const auto asked = request();
    time.advance(1h);
    slow.events.clear();
    slow.poll();
    REQUIRE(slow.events.size() == 1);
    CHECK(slow.events.front().type == event::unreachable);
    outgoing.reset();
    second.reset();
}

TEST_CASE_METHOD(fabric_fixture, "private data goes both ways", "[verbs][softroce]")
{
    auto door = passive.channel->listen(address).value();
    REQUIRE(door->local_endpoint().port() != 0);
    auto near = make_pair();
    auto far = make_pair();
    auto outgoing = active.channel->resolve(door->local_endpoint()).value();
    CHECK(outgoing->connect(*near, {}) == errc::wrong_state);
    active_event(*outgoing, event::resolved);
    CHECK(outgoing->device_name() == hardware->info().name);
    CHECK(outgoing->remote_endpoint() == door->local_endpoint());
    const std::vector<std::byte> longest(hardware->limits().connect_private_data_max, std::byte{'x'});
    const std::vector<std::byte> too_long(longest.size() + 1);
    CHECK(outgoing->connect(*near, {too_long, {}}) == errc::private_data_too_long);
    REQUIRE_FALSE(outgoing->connect(*near, {longest, {}}));
    auto asked = request();
    CHECK(begins_with(asked.private_data, std::string(56, 'x')));
    CHECK(asked.incoming->device_name() == hardware->info().name);
    CHECK(asked.incoming->local_endpoint() == door->local_endpoint());
    REQUIRE_FALSE(asked.incoming->accept(*far, {bytes_of("welcome"), {}}));
    CHECK(far->state() == queue_pair_state::ready_to_send);
    const auto made = active_event(*outgoing, event::established);
    CHECK(begins_with(made.private_data, "welcome"));
    CHECK(near->state() == queue_pair_state::ready_to_send);
    passive_event(*asked.incoming, event::established);
}

TEST_CASE_METHOD(connected_fixture, "disconnecting is told once at both sides", "[verbs][softroce]")
{
    REQUIRE_FALSE(near->post_receive(std::vector<receive_request>(3)).error);
    REQUIRE_FALSE(far->post_receive(std::vector<receive_request>(2)).error);
    const bool by_active = GENERATE(true, false);
    auto& one = by_active ? *outgoing : *incoming;
    REQUIRE_FALSE(one.disconnect());
    REQUIRE_FALSE(one.disconnect());
    active_event(*outgoing, event::disconnected);
    passive_event(*incoming, event::disconnected);
    CHECK(near->state() == queue_pair_state::error);
    CHECK(far->state() == queue_pair_state::error);
    CHECK(all_flushed(*this, 5));
    REQUIRE_FALSE(one.disconnect());
    for (int i = 0; i < 100; ++i)
        turn();
    CHECK(active.events.empty());
    CHECK(passive.events.empty());
}

TEST_CASE_METHOD(connected_fixture, "disconnecting at both sides at once", "[verbs][softroce]")
{
    REQUIRE_FALSE(outgoing->disconnect());
    REQUIRE_FALSE(incoming->disconnect());
    active_event(*outgoing, event::disconnected);
    passive_event(*incoming, event::disconnected);
    for (int i = 0; i < 100; ++i)
        turn();
    CHECK(active.events.empty());
    CHECK(passive.events.empty());
}

TEST_CASE_METHOD(connected_fixture, "a peer that does not answer does not keep disconnected away", "[verbs][softroce]")
{
    REQUIRE_FALSE(outgoing->disconnect());
    // Nobody polls the passive side: its answer is not sent.
    wait_for(
        "disconnected", [&] { return active.events_about(outgoing.get()) == 1; }, [&] { active.poll(); });
    CHECK(active.events.front().type == event::disconnected);
}

TEST_CASE_METHOD(connected_fixture, "a queue pair that breaks ends its connection", "[verbs][softroce]")
{
    SECTION("by a failed request")
    {
        const local_segment from[] = {near_bytes(0, 8)};
        send_request write;
        write.operation = opcode::write;
        write.local = from;
        REQUIRE_FALSE(near->post_send({&write, 1}).error);
        CHECK(next().status == completion_status::remote_access_error);
    }
    SECTION("by its owner")
    {
        REQUIRE_FALSE(near->move_to_error());
    }
    pollfd waiting{active.channel->descriptor(), POLLIN, 0};
    CHECK(::poll(&waiting, 1, 10'000) == 1);
    CHECK(active_event(*outgoing, event::disconnected).error == errc::lane_error);
    CHECK_FALSE(passive_event(*incoming, event::disconnected).error);
    CHECK(far->state() == queue_pair_state::error);
    for (int i = 0; i < 100; ++i)
        turn();
    CHECK(active.events.empty());
    CHECK(passive.events.empty());
}

TEST_CASE_METHOD(connected_fixture, "destroying a connection disconnects", "[verbs][softroce]")
{
    const bool by_active = GENERATE(true, false);
    if (by_active) {
        outgoing.reset();
        passive_event(*incoming, event::disconnected);
        CHECK(near->state() == queue_pair_state::error);
        CHECK(active.events.empty());
    } else {
        incoming.reset();
        active_event(*outgoing, event::disconnected);
        CHECK(far->state() == queue_pair_state::error);
        CHECK(passive.events.empty());
    }
}

TEST_CASE_METHOD(connected_fixture, "queue pairs may go before their connections", "[verbs][softroce]")
{
    near.reset();
    far.reset();
    REQUIRE_FALSE(outgoing->disconnect());
    active_event(*outgoing, event::disconnected);
    passive_event(*incoming, event::disconnected);
}

TEST_CASE_METHOD(fabric_fixture, "where nobody listens the connection is rejected", "[verbs][softroce]")
{
    auto near = make_pair();
    auto nowhere = address;
    nowhere.port(9);
    auto outgoing = active.channel->resolve(nowhere).value();
    active_event(*outgoing, event::resolved);
    REQUIRE_FALSE(outgoing->connect(*near, {}));
    CHECK(active_event(*outgoing, event::rejected).error == errc::refused);
}

TEST_CASE_METHOD(fabric_fixture, "a rejection carries its reason", "[verbs][softroce]")
{
    auto door = passive.channel->listen(address).value();
    auto near = make_pair();
    auto outgoing = active.channel->resolve(door->local_endpoint()).value();
    active_event(*outgoing, event::resolved);
    REQUIRE_FALSE(outgoing->connect(*near, {}));
    auto asked = request();
    REQUIRE_FALSE(asked.incoming->reject(bytes_of("no room")));
    const auto answer = active_event(*outgoing, event::rejected);
    CHECK(answer.error == errc::refused);
    CHECK(begins_with(answer.private_data, "no room"));
    CHECK(asked.incoming->accept(*near, {}) == errc::wrong_state);
}

TEST_CASE_METHOD(fabric_fixture, "a request that is dropped is a rejection", "[verbs][softroce]")
{
    auto door = passive.channel->listen(address).value();
    auto near = make_pair();
    auto outgoing = active.channel->resolve(door->local_endpoint()).value();
    active_event(*outgoing, event::resolved);
    REQUIRE_FALSE(outgoing->connect(*near, {}));
    SECTION("the request is destroyed")
    {
        request().incoming.reset();
    }
    SECTION("the listener is destroyed before it is told")
    {
        // The request is in the kernel's queue once the channel is readable.
        pollfd waiting{passive.channel->descriptor(), POLLIN, 0};
        REQUIRE(::poll(&waiting, 1, 10'000) == 1);
        door.reset();
    }
    active_event(*outgoing, event::rejected);
    CHECK(passive.events.empty());
}

TEST_CASE_METHOD(fabric_fixture, "a peer that does not answer is unreachable", "[verbs][softroce]")
{
    auto door = passive.channel->listen(address).value();
    auto near = make_pair();
    resolve_options options;
    options.handshake_timeout = 300ms;
    auto outgoing = active.channel->resolve(door->local_endpoint(), options).value();
    active_event(*outgoing, event::resolved);
    REQUIRE_FALSE(outgoing->connect(*near, {}));
    auto asked = request();
    CHECK(active_event(*outgoing, event::unreachable).error == errc::unreachable);
    outgoing.reset();
    // The peer learns of it when it accepts.
    auto far = make_pair();
    if (const auto error = asked.incoming->accept(*far, {}))
        CHECK(error == errc::connection_lost);
    else
        passive_event(*asked.incoming, event::rejected);
    CHECK(far->state() == queue_pair_state::error);
}

TEST_CASE_METHOD(fabric_fixture, "an address nobody has is unreachable", "[verbs][softroce]")
{
    resolve_options options;
    options.timeout = 500ms;
    endpoint nobody(boost::asio::ip::make_address("10.99.0.77"), 7'000);
    auto outgoing = active.channel->resolve(nobody, options).value();
    CHECK(active_event(*outgoing, event::unreachable).error == errc::unreachable);
}

TEST_CASE_METHOD(fabric_fixture, "an occupied port is said at once", "[verbs][softroce]")
{
    auto door = passive.channel->listen(address).value();
    const auto second = passive.channel->listen(door->local_endpoint());
    REQUIRE(second.has_error());
    CHECK(second.error() == make_system_error(EADDRINUSE));
}

TEST_CASE_METHOD(fabric_fixture, "a connection may be destroyed at every step", "[verbs][softroce]")
{
    auto door = passive.channel->listen(address).value();
    const int last = GENERATE(range(0, 6));
    INFO("destroyed after step " << last);
    auto near = make_pair();
    auto far = make_pair();
    auto outgoing = active.channel->resolve(door->local_endpoint()).value();
    std::unique_ptr<connection> incoming;
    if (last >= 1)
        active_event(*outgoing, event::resolved);
    if (last >= 2)
        REQUIRE_FALSE(outgoing->connect(*near, {}));
    if (last >= 3)
        incoming = request().incoming;
    if (last >= 4)
        REQUIRE_FALSE(incoming->accept(*far, {}));
    if (last >= 5)
        active_event(*outgoing, event::established);
    SECTION("the active side first")
    {
        outgoing.reset();
    }
    SECTION("the passive side first")
    {
        incoming.reset();
    }
    outgoing.reset();
    incoming.reset();
    active.events.clear();
    passive.events.clear();
    // What is left over may still arrive, but must not be about a connection that is gone.
    for (int i = 0; i < 50; ++i)
        turn();
    CHECK(active.events.empty());
    for (auto& left : passive.events)
        CHECK(left.type == event::connect_request);
}

TEST_CASE_METHOD(fabric_fixture, "a request may move to another channel", "[verbs][softroce]")
{
    side other(*source);
    auto door = passive.channel->listen(address).value();
    auto near = make_pair();
    auto far = make_pair();
    auto outgoing = active.channel->resolve(door->local_endpoint()).value();
    active_event(*outgoing, event::resolved);
    REQUIRE_FALSE(outgoing->connect(*near, {}));
    auto incoming = request().incoming;
    REQUIRE_FALSE(incoming->migrate(*other.channel));
    REQUIRE_FALSE(incoming->accept(*far, {}));
    CHECK(other.take(incoming.get(), "established at the other channel", active).type == event::established);
    REQUIRE_FALSE(outgoing->disconnect());
    CHECK(other.take(incoming.get(), "disconnected at the other channel", active).type == event::disconnected);
    for (int i = 0; i < 20; ++i)
        turn();
    CHECK(passive.events.empty());
    incoming.reset();
}

TEST_CASE_METHOD(fabric_fixture, "two hundred connect at once", "[verbs][softroce]")
{
    constexpr std::size_t count = 200;
    auto many = hardware->create_completion_queue(count * 8).value();
    auto changed = options();
    changed.send_completions = many.get();
    changed.receive_completions = many.get();
    changed.send_depth = 2;
    changed.receive_depth = 2;
    struct one {
        std::unique_ptr<queue_pair> pair;
        std::unique_ptr<connection> way;
        bool established = false;
        bool disconnected = false;
    };
    std::vector<one> near(count);
    std::vector<one> far;
    auto door = passive.channel->listen(address).value();
    for (auto& side : near) {
        side.pair = make_pair(changed);
        side.way = active.channel->resolve(door->local_endpoint(), {{}, 10s}).value();
    }
    const auto find = [](std::vector<one>& side, const connection* way) -> one& {
        return *std::find_if(side.begin(), side.end(), [&](const one& each) { return each.way.get() == way; });
    };
    const auto take = [&](side& from, std::vector<one>& side) {
        from.poll();
        while (!from.events.empty()) {
            auto told = std::move(from.events.front());
            from.events.pop_front();
            INFO(told.error.message());
            if (told.type == event::resolved) {
                REQUIRE_FALSE(told.source->connect(*find(side, told.source).pair, {}));
            } else if (told.type == event::connect_request) {
                far.push_back({make_pair(changed), std::move(told.incoming)});
                REQUIRE_FALSE(far.back().way->accept(*far.back().pair, {}));
            } else if (told.type == event::established) {
                find(side, told.source).established = true;
            } else {
                REQUIRE(static_cast<int>(told.type) == static_cast<int>(event::disconnected));
                find(side, told.source).disconnected = true;
            }
        }
    };
    const auto all = [](const std::vector<one>& side, bool one::*what) {
        return side.size() == count
            && std::all_of(side.begin(), side.end(), [&](const one& each) { return each.*what; });
    };
    const auto move_on = [&] {
        take(active, near);
        take(passive, far);
    };
    wait_for(
        "200 connections", [&] { return all(near, &one::established) && all(far, &one::established); }, move_on);
    for (auto& side : near)
        REQUIRE_FALSE(side.way->disconnect());
    wait_for(
        "200 disconnections", [&] { return all(near, &one::disconnected) && all(far, &one::disconnected); }, move_on);
}
