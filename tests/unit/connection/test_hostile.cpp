#include "world.hpp"

#include "connection/event_router.hpp"
#include "connection/handshake.hpp"
#include "connection/lane_opener.hpp"
#include "connection/lane_shapes.hpp"
#include "connection/message.hpp"

#include <penstock/transfer/transfer.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>

#include <cstring>
#include <string>
#include <string_view>

using namespace penstock;
using namespace penstock::test;
using namespace penstock::connection;

namespace {

/// A client that greets and then does what the test wants.
struct greeter {
    world& w;
    std::vector<std::byte> greeting = std::vector<std::byte>(control_greeting_bytes);
    std::optional<lane_opener> opener;
    std::unique_ptr<lane> control;
    bool ended = false;
    error_code error{};

    explicit greeter(world& in, std::vector<std::byte> said = {}, const lane_options& shape = control_lane_options())
        : w(in)
    {
        encode_control_greeting(std::span<std::byte, control_greeting_bytes>(greeting));
        if (!said.empty()) {
            greeting = std::move(said);
        }
        opener.emplace(*w.client, *w.client->device(fabric::transport::tcp), shape, greeting);
        const auto started = opener->start(
            w.listening->local_endpoint(), std::chrono::seconds(10), [](lane&) {},
            [this](error_code why, std::unique_ptr<lane> made) {
                ended = true;
                error = why;
                control = std::move(made);
            });
        REQUIRE_FALSE(started.failed());
        w.client->poller().hold();
        w.run_until([this] { return ended; });
    }
    greeter(const greeter&) = delete;
    greeter& operator=(const greeter&) = delete;
    ~greeter()
    {
        if (control) {
            w.client->retire(std::move(control));
        }
        w.client->poller().release_hold();
    }
};

/// A server that accepts control lanes and then does what the test wants.
struct pretender {
    world& w;
    std::unique_ptr<fabric::listener> listening;
    std::unique_ptr<lane> control;

    pretender(world& in, std::function<void(lane&)> accepted)
        : w(in)
    {
        auto& router = *w.server->router(fabric::transport::tcp);
        listening = router.channel().listen({boost::asio::ip::address_v4::loopback(), 0}).value();
        router.watch_endpoint(listening->local_endpoint(), [this, accepted](fabric::connection_event& event) {
            control
                = lane::create(*w.server, *w.server->device(fabric::transport::tcp), control_lane_options()).value();
            auto& incoming = *event.incoming;
            control->attach(
                std::move(event.incoming), [this, accepted](const fabric::connection_event&) { accepted(*control); });
            CHECK_FALSE(incoming.accept(control->pair(), {}).failed());
        });
    }
    pretender(const pretender&) = delete;
    pretender& operator=(const pretender&) = delete;
    ~pretender()
    {
        w.server->router(fabric::transport::tcp)->unwatch_endpoint(listening->local_endpoint());
        if (control) {
            w.server->retire(std::move(control));
        }
    }

    error_code answer_to(const connect_options& options)
    {
        attempt one;
        async_connect(*w.client, listening->local_endpoint(), options, [&](error_code error, connection_ptr) {
            one.ended = true;
            one.error = error;
        });
        w.run_until([&] { return one.ended; });
        return one.error;
    }
};

welcome plausible(const world& w)
{
    welcome made;
    made.depth = 1;
    made.data_port = w.listening->local_endpoint().port(); // a port that refuses the ticket
    made.transfer_bytes_max = 1;
    return made;
}

} // namespace

TEST_CASE("a socket that speaks garbage is counted, and others are served")
{
    world w;
    boost::asio::ip::tcp::socket raw(w.context);
    raw.connect(w.listening->local_endpoint());
    const std::string said = "GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n" + std::string(4'096, 'x');
    (void)boost::asio::write(raw, boost::asio::buffer(said));
    w.run_until([&] { return w.listening->statistics().refused == 1; });
    CHECK(w.connect());
}

TEST_CASE("private data that is no greeting, and tickets that were not given, are refused")
{
    world w;
    std::vector<std::byte> said(ticket_bytes);
    SECTION("nothing we know")
    {
        said.assign(16, std::byte{0x5a});
    }
    SECTION("a ticket out of the air")
    {
        encode(ticket{1, 1, 0, {}}, std::span<std::byte, ticket_bytes>(said));
    }
    SECTION("half a ticket")
    {
        encode(ticket{1, 1, 0, {}}, std::span<std::byte, ticket_bytes>(said));
        said.resize(20);
    }
    const greeter other(w, said);
    CHECK(other.error == errc::refused);
    CHECK(w.listening->statistics().refused == 1);
    CHECK(w.accepted.empty());
}

TEST_CASE("a ticket is good once, and only whole")
{
    world w;
    greeter honest(w);
    REQUIRE(honest.control);
    std::vector<std::byte> answer;
    honest.control->on_message([&](std::span<const std::byte> bytes) { answer.assign(bytes.begin(), bytes.end()); });
    hello opening;
    opening.depth = 1;
    opening.instance = make_identifier(w.client->random());
    CHECK_FALSE(send_message(*honest.control, opening).failed());
    w.run_until([&] { return !answer.empty(); });
    client_handshake shake(opening);
    REQUIRE(shake.on_message(answer) == client_handshake::action::open_data_lanes);
    std::vector<std::byte> said(ticket_bytes);

    auto altered = shake.answer().admission(0);
    altered.secret.bytes[15] ^= std::byte{1};
    encode(altered, std::span<std::byte, ticket_bytes>(said));
    CHECK(greeter(w, said).error == errc::refused);
    encode(shake.answer().admission(0), std::span<std::byte, ticket_bytes>(said));
    const greeter lane(w, said);
    CHECK_FALSE(lane.error.failed());
    w.run_until([&] { return w.accepted.size() == 1; });
    CHECK(greeter(w, said).error == errc::refused);
    CHECK(w.accepted.size() == 1);
}

TEST_CASE("what comes on a lane before the others are there waits for the connection, in order")
{
    world w;
    acceptor_options offered;
    offered.listen = {boost::asio::ip::address_v4::loopback(), 0};
    offered.lanes_max = 2;
    std::vector<std::string> heard;
    w.listening.emplace(*w.server, offered, [&](connection_ptr made) {
        made->on_message([&heard](std::span<const std::byte> bytes) {
            heard.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        });
        w.accepted.push_back(std::move(made));
        CHECK(heard.empty());
    });
    greeter honest(w);
    std::vector<std::byte> answer;
    honest.control->on_message([&](std::span<const std::byte> bytes) { answer.assign(bytes.begin(), bytes.end()); });
    hello opening;
    opening.depth = 8;
    opening.lanes = 2;
    opening.instance = make_identifier(w.client->random());
    CHECK_FALSE(send_message(*honest.control, opening).failed());
    w.run_until([&] { return !answer.empty(); });
    client_handshake shake(opening);
    REQUIRE(shake.on_message(answer) == client_handshake::action::open_data_lanes);
    const auto open = [&](std::size_t index) {
        std::vector<std::byte> ticket(ticket_bytes);
        encode(shake.answer().admission(index), std::span<std::byte, ticket_bytes>(ticket));
        return std::make_unique<greeter>(w, ticket, client_data_lane_options(shake.answer().depth, {}));
    };
    const auto first = open(0);
    const auto say = [&](std::string_view words) {
        const auto slot = first->control->acquire_message().value();
        std::memcpy(slot.bytes.data(), words.data(), words.size());
        bool placed = false;
        transfer::async_send(*first->control, slot.segment(words.size()), [&](error_code error) {
            CHECK_FALSE(error.failed());
            first->control->release_message(slot);
            placed = true;
        });
        w.run_until([&] { return placed; });
    };
    say("one");
    say("two");
    CHECK(w.accepted.empty());
    const auto second = open(1);
    w.run_until([&] { return !w.accepted.empty(); });
    say("three");
    w.run_until([&] { return heard.size() >= 3; });
    CHECK(heard == std::vector<std::string>{"one", "two", "three"});
}

TEST_CASE("who breaks the handshake is dropped and counted")
{
    world w;
    greeter rude(w);
    REQUIRE(rude.control);
    bool down = false;
    rude.control->on_down([&](error_code) { down = true; });
    hello opening;
    opening.depth = 1;
    SECTION("not a hello")
    {
        CHECK_FALSE(send_message(*rude.control, refused{errc::overloaded}).failed());
    }
    SECTION("two hellos")
    {
        CHECK_FALSE(send_message(*rude.control, opening).failed());
        CHECK_FALSE(send_message(*rude.control, opening).failed());
    }
    w.run_until([&] { return down; });
    CHECK(w.listening->statistics().refused == 1);
    CHECK(w.accepted.empty());
}

TEST_CASE("who greets and then says nothing holds a place for a bounded time, and nobody beyond the limit is let in")
{
    acceptor_options offered;
    offered.half_open_max = 1;
    offered.handshake_timeout = std::chrono::milliseconds(300);
    world w(offered);
    greeter silent(w);
    REQUIRE(silent.control);
    bool down = false;
    silent.control->on_down([&](error_code) { down = true; });
    attempt beyond;
    w.begin(beyond);
    w.run_until([&] { return beyond.ended; });
    CHECK(beyond.error == errc::refused);
    w.run_until([&] { return down; });
    CHECK(w.listening->statistics().refused == 2);
    CHECK(w.connect());
}

TEST_CASE("a server that never answers is given up in time")
{
    world w;
    pretender silent(w, [](lane&) {});
    connect_options options;
    options.timeout = std::chrono::milliseconds(100);
    CHECK(silent.answer_to(options) == errc::timed_out);
}

TEST_CASE("a server that speaks out of turn, or wrongly, is refused by the client")
{
    world w;
    connect_options options;
    SECTION("a welcome to a port that refuses the ticket")
    {
        pretender eager(w, [&](lane& control) { (void)send_message(control, plausible(w)); });
        const auto told = eager.answer_to(options);
        CHECK((told == errc::refused || told == errc::unexpected_message));
    }
    SECTION("a hello")
    {
        pretender confused(w, [&](lane& control) {
            hello opening;
            opening.depth = 1;
            opening.instance = make_identifier(w.server->random());
            (void)send_message(control, opening);
        });
        CHECK(confused.answer_to(options) == errc::unexpected_message);
    }
    SECTION("two welcomes")
    {
        pretender twice(w, [&](lane& control) {
            (void)send_message(control, plausible(w));
            (void)send_message(control, plausible(w));
        });
        CHECK(
            twice.answer_to(options) == errc::refused); // the lanes; the second one would be the connection's to judge
    }
    SECTION("it closes instead")
    {
        pretender gone(w, [](lane& control) { control.fail(errc::lane_error); });
        CHECK(gone.answer_to(options).failed());
    }
}

TEST_CASE("a message after the handshake ends the connection")
{
    world w;
    greeter honest(w);
    std::vector<std::byte> answer;
    honest.control->on_message([&](std::span<const std::byte> bytes) { answer.assign(bytes.begin(), bytes.end()); });
    hello opening;
    opening.depth = 1;
    opening.instance = make_identifier(w.client->random());
    CHECK_FALSE(send_message(*honest.control, opening).failed());
    w.run_until([&] { return !answer.empty(); });
    client_handshake shake(opening);
    REQUIRE(shake.on_message(answer) == client_handshake::action::open_data_lanes);
    std::vector<std::byte> said(ticket_bytes);
    encode(shake.answer().admission(0), std::span<std::byte, ticket_bytes>(said));
    const greeter data(w, said);
    w.run_until([&] { return w.accepted.size() == 1; });
    error_code why;
    w.accepted.front()->on_down([&](error_code error) { why = error; });
    CHECK_FALSE(send_message(*honest.control, opening).failed());
    w.run_until([&] { return why.failed(); });
    CHECK(why == errc::unexpected_message);
}
