// Messages on data lanes, whose queue pairs never retry a send that finds no receive: one that did would end the connection.

#include "world.hpp"

#include <penstock/transfer/transfer.hpp>

#include <algorithm>
#include <array>
#include <cstring>

using namespace penstock;
using namespace penstock::test;

namespace {

/// Sends numbered messages whenever there is a credit, up to a count.
struct sender {
    connection::lane& on;
    std::uint64_t wanted;
    std::uint64_t sent = 0;
    std::uint64_t ended = 0;

    void pump()
    {
        while (sent != wanted && on.send_credits() != 0) {
            const auto slot = on.acquire_message();
            if (!slot) {
                return; // an ending one brings us back
            }
            std::memcpy(slot->bytes.data(), &sent, sizeof sent);
            const auto segment = slot->segment(sizeof sent);
            fabric::send_request request;
            request.operation = fabric::opcode::send;
            request.local = {&segment, 1};
            auto callback = [this, kept = *slot](error_code error) {
                CHECK_FALSE(error.failed());
                on.release_message(kept);
                ++ended;
            };
            REQUIRE(transfer::submit(on, {&request, 1}, callback) == error_code());
            ++sent;
        }
    }
};

/// Expects the numbers in order, and none missing.
struct reader {
    std::uint64_t next = 0;
    void operator()(std::span<const std::byte> message)
    {
        std::uint64_t number = 0;
        REQUIRE(message.size() == sizeof number);
        std::memcpy(&number, message.data(), sizeof number);
        REQUIRE(number == next);
        ++next;
    }
};

/// A connection of which both runtimes poll all the time.
struct talk : world {
    connection_ptr here;
    connection::connection& there;
    int down = 0;
    error_code reason;

    explicit talk(std::uint32_t depth)
        : here(connect(with_depth(depth)))
        , there(*accepted.front())
    {
        client->poller().hold();
        const auto tell = [this](error_code why) {
            ++down;
            reason = why;
        };
        here->on_down(tell);
        there.on_down(tell);
        run_until([this] { return there.data().pair().state() == fabric::queue_pair_state::ready_to_send; });
    }
    talk(const talk&) = delete;
    talk& operator=(const talk&) = delete;
    ~talk() { client->poller().release_hold(); }

    static connection::connect_options with_depth(std::uint32_t depth)
    {
        connection::connect_options wanted;
        wanted.depth = depth;
        return wanted;
    }

    /// Turns of both pollers until `reached`, bounded.
    template <class Step>
    void turns_until(Step step, const std::function<bool()>& reached)
    {
        const auto limit = system_clock_source().now() + std::chrono::seconds(60);
        while (!reached()) {
            REQUIRE(reason == error_code());
            REQUIRE(system_clock_source().now() < limit);
            step();
        }
    }
};

/// Posts bytes on a lane's queue pair as they are, as a peer that keeps no rules would.
void post_raw(connection::lane& on, std::span<const std::byte> bytes)
{
    const auto slot = on.acquire_message().value();
    auto segment = slot.segment(0);
    segment.length = static_cast<std::uint32_t>(bytes.size());
    std::copy(bytes.begin(), bytes.end(), segment.address);
    fabric::send_request request;
    request.operation = fabric::opcode::send;
    request.signaled = false;
    request.local = {&segment, 1};
    REQUIRE_FALSE(on.pair().post_send({&request, 1}).error.failed());
    on.release_message(slot); // the next one says the same
}

std::array<std::byte, 8> header(unsigned kind, unsigned returned)
{
    return {static_cast<std::byte>(kind), std::byte{}, static_cast<std::byte>(returned)};
}

} // namespace

TEST_CASE("one side is silent for 100,000 messages")
{
    talk w(16);
    reader read;
    w.there.on_message(std::ref(read));
    sender send{w.here->data(), 100'000};
    w.turns_until(
        [&] {
            send.pump();
            (void)w.client->poller().poll();
            (void)w.server->poller().poll();
        },
        [&] { return read.next == 100'000 && send.ended == 100'000; });
    CHECK(w.there.data().send_credits() == 17); // it spent none
}

TEST_CASE("a sender far faster than its receiver waits for credits, and no message finds no receive")
{
    talk w(8);
    reader read;
    w.there.on_message(std::ref(read));
    sender send{w.here->data(), 5'000};
    std::uint64_t stalls = 0;
    w.turns_until(
        [&] {
            for (int i = 0; i != 20; ++i) {
                send.pump();
                stalls += send.on.send_credits() == 0 ? 1U : 0U;
                (void)w.client->poller().poll();
            }
            (void)w.server->poller().poll();
        },
        [&] { return read.next == 5'000 && send.ended == 5'000; });
    CHECK(stalls > 1'000);
}

TEST_CASE("both directions at once, at any depth")
{
    const std::uint32_t depth = GENERATE(1U, 2U, 3U, 64U);
    INFO("depth " << depth);
    talk w(depth);
    reader at_server;
    reader at_client;
    w.there.on_message(std::ref(at_server));
    w.here->on_message(std::ref(at_client));
    sender up{w.here->data(), 20'000};
    sender down{w.there.data(), 20'000};
    w.turns_until(
        [&] {
            up.pump();
            (void)w.client->poller().poll();
            down.pump();
            (void)w.server->poller().poll();
        },
        [&] { return at_server.next + at_client.next == 40'000 && up.ended + down.ended == 40'000; });
}

TEST_CASE("who keeps messages gives no credits, and the sender goes on when one is let go")
{
    talk w(4);
    std::vector<connection::received_message> kept;
    w.there.on_message([&](std::span<const std::byte> message) {
        kept.push_back(w.there.data().keep_message());
        CHECK(kept.back().bytes().data() == message.data());
    });
    sender send{w.here->data(), 200};
    const auto step = [&] {
        send.pump();
        (void)w.client->poller().poll();
        (void)w.server->poller().poll();
    };
    w.turns_until(step, [&] { return kept.size() == 5 && send.ended == 5; });
    for (int i = 0; i != 200; ++i) {
        step();
    }
    CHECK(kept.size() == 5); // one more than the depth is granted
    CHECK(send.sent == 5);
    for (std::uint64_t number = 0; number != 195; ++number) {
        reader in_order{number};
        in_order(kept.front().bytes());
        kept.erase(kept.begin());
        w.turns_until(step, [&] { return kept.size() == 5; });
    }
    w.turns_until(step, [&] { return send.ended == 200; });
}

TEST_CASE("a kept message outlives its lane")
{
    talk w(4);
    connection::received_message kept;
    w.there.on_message([&](std::span<const std::byte>) { kept = w.there.data().keep_message(); });
    sender send{w.here->data(), 1};
    send.pump();
    w.run_until([&] { return kept && send.ended == 1; });
    w.here.reset();
    w.accepted.clear();
    w.run_until([&] { return w.client->messages().statistics().in_use == 0; });
    w.run_until([&] { return w.server->poller().outstanding() == 1; });
    CHECK(w.server->messages().statistics().in_use != 0);
    reader{}(kept.bytes());
    kept = {};
    CHECK(w.server->messages().statistics().in_use == 0);
}

TEST_CASE("a handler that throws costs no receive and no credit")
{
    talk w(2);
    int thrown = 0;
    w.there.on_message([&](std::span<const std::byte>) {
        ++thrown;
        throw std::runtime_error("a handler");
    });
    sender send{w.here->data(), 50};
    w.turns_until(
        [&] {
            send.pump();
            (void)w.client->poller().poll();
            try {
                (void)w.server->poller().poll();
            } catch (const std::runtime_error&) {}
        },
        [&] { return thrown == 50 && send.ended == 50; });
}

TEST_CASE("a peer that breaks the rules of credits loses its lane, and the reason is told")
{
    talk w(2);
    error_code why;
    w.there.on_down([&](error_code error) { why = error; });
    std::vector<connection::received_message> kept;
    w.there.on_message([&](std::span<const std::byte>) { kept.push_back(w.there.data().keep_message()); });
    auto& rude = w.here->data();
    error_code expected = errc::malformed_message;
    std::size_t expected_kept = 0;
    SECTION("shorter than a header")
    {
        post_raw(rude, std::span<const std::byte>(header(1, 0)).first(7));
    }
    SECTION("nothing at all")
    {
        post_raw(rude, {});
    }
    SECTION("an unknown kind")
    {
        post_raw(rude, header(9, 0));
    }
    SECTION("credits, but none")
    {
        post_raw(rude, header(2, 0));
    }
    SECTION("credits that nobody spent")
    {
        expected = errc::unexpected_message;
        post_raw(rude, header(2, 1));
    }
    SECTION("more messages than were granted")
    {
        expected = errc::unexpected_message;
        expected_kept = 3;
        for (int i = 0; i != 4; ++i) {
            post_raw(rude, header(1, 0));
        }
    }
    w.run_until([&] { return why.failed(); });
    CHECK(why == expected);
    CHECK(w.there.data().failed());
    CHECK(kept.size() == expected_kept);
    w.run_until([&] { return w.down == 1; }); // and the other side learns of it
}

TEST_CASE("what may not be sent is refused, and nothing is spent")
{
    talk w(1);
    auto& on = w.here->data();
    const auto slot = on.acquire_message().value();
    auto segment = slot.segment(8);
    std::array<fabric::send_request, 3> requests{};
    for (auto& each : requests) {
        each.operation = fabric::opcode::send;
        each.local = {&segment, 1};
    }
    auto callback = [](error_code) { FAIL("called"); };
    CHECK(transfer::submit(on, requests, callback) == errc::send_queue_full); // two are granted
    segment.length = 7;
    CHECK(transfer::submit(on, std::span(requests).first(1), callback) == errc::invalid_argument);
    requests[0].local = {};
    CHECK(transfer::submit(on, std::span(requests).first(1), callback) == errc::invalid_argument);
    CHECK(on.send_credits() == 2);
    CHECK(on.send_room() == 4);
}
