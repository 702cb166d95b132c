// Everything from a peer is hostile until checked: garbage costs its own queue pair and nobody else's.

#include "unit/fabric_tcp/world.hpp"

#include <penstock/core/random.hpp>

using namespace penstock;
using namespace penstock::test;
using tcp::frame_header;
using tcp::frame_type;

namespace {

void expect_dead(side& at)
{
    run_until("the queue pair is in ERROR", {&at}, [&] { return at.pair->state() == queue_pair_state::error; });
    run_until("told once", {&at}, [&] { return has_event(at, connection_event_type::disconnected); });
}

/// Sends the frame to an established queue pair that knows only the region's key.
void expect_fatal(const frame_header& frame, std::span<const std::byte> payload = {})
{
    const auto from = make_tcp_provider();
    side at(*from);
    raw_peer peer(at.listening->local_endpoint());
    peer.shake_hands(at);
    CHECK(at.hardware->statistics().protocol_errors == 0);
    peer.send(frame, payload);
    expect_dead(at);
    CHECK(at.hardware->statistics().protocol_errors == 1);
    std::vector<std::byte> rest;
    run_until("the connection is closed", {&at}, [&] { return !peer.receive(rest); });
}

} // namespace

TEST_CASE("frames out of protocol end the queue pair")
{
    frame_header frame;
    SECTION("unknown type")
    {
        frame.type = static_cast<frame_type>(99);
    }
    SECTION("a message from the future")
    {
        frame.type = frame_type::send;
        frame.message = 1;
    }
    SECTION("an acknowledgement of nothing")
    {
        frame.acknowledge = 1;
    }
    SECTION("a response to nothing")
    {
        frame.type = frame_type::read_response;
    }
    SECTION("an atomic's response to nothing")
    {
        frame.type = frame_type::atomic_response;
    }
    SECTION("a refusal of nothing")
    {
        frame.type = frame_type::negative_acknowledge;
        frame.code = 2;
    }
    SECTION("a payload beyond the limit")
    {
        frame.type = frame_type::write;
        frame.length = tcp::frame_bytes_max + 1;
        frame.a = frame.length;
    }
    SECTION("a handshake in the middle")
    {
        frame.type = static_cast<frame_type>('P');
    }
    expect_fatal(frame);
}

TEST_CASE("more reads than agreed end the queue pair")
{
    const auto from = make_tcp_provider();
    side_options options;
    options.path.responder_resources = 1;
    side at(*from, options);
    raw_peer peer(at.listening->local_endpoint());
    peer.shake_hands(at);
    frame_header frame;
    frame.type = frame_type::read_request;
    frame.address = at.remote(0).address;
    frame.key = at.remote(0).rkey;
    frame.a = at.memory.size();
    for (std::uint32_t i = 0; i != 20; ++i) {
        frame.message = i;
        peer.send(frame);
    }
    expect_dead(at);
}

TEST_CASE("keys out of thin air reach nothing")
{
    const auto from = make_tcp_provider();
    seeded_random_source random(11);
    for (int i = 0; i != 30; ++i) {
        side at(*from);
        raw_peer peer(at.listening->local_endpoint());
        peer.shake_hands(at);
        frame_header frame;
        frame.type = i % 3 == 0 ? frame_type::read_request
            : i % 3 == 1        ? frame_type::write
                                : frame_type::atomic_request;
        frame.address = i % 2 == 0 ? at.remote(0).address : random.next();
        frame.key = i % 2 == 0 ? static_cast<std::uint32_t>(random.next()) : at.remote(0).rkey;
        if (frame.key == at.remote(0).rkey && frame.address == at.remote(0).address)
            continue;
        frame.address &= ~7ULL;
        std::vector<std::byte> payload;
        if (frame.type == frame_type::write) {
            payload.assign(64, std::byte{0xff});
            frame.length = 64;
        }
        frame.a = 64;
        peer.send(frame, payload);
        const auto answers = peer.frames(at, 1);
        CHECK(answers.front().type == frame_type::negative_acknowledge);
        CHECK(answers.front().code == static_cast<std::uint16_t>(tcp::refusal::remote_access));
        expect_dead(at);
        CHECK(at.hardware->statistics().protocol_errors == 0); // the wire's rules were kept
        CHECK(std::ranges::all_of(at.memory, [](std::byte each) { return each == std::byte{}; }));
    }
}

TEST_CASE("random bytes to an established queue pair")
{
    const auto from = make_tcp_provider();
    // A bystander on the same completion queue's kind of machinery keeps working throughout.
    side a(*from);
    side b(*from);
    connect(a, b);
    for (std::uint64_t seed = 0; seed != 60; ++seed) {
        seeded_random_source random(seed);
        side at(*from);
        raw_peer peer(at.listening->local_endpoint());
        peer.shake_hands(at);
        std::vector<std::byte> bytes(1 + uniform_below(random, 5'000));
        random.fill(bytes);
        // Half of them begin like frames, so that they get further.
        for (std::size_t i = 0; seed % 2 == 0 && i + tcp::header_bytes < bytes.size(); i += tcp::header_bytes) {
            frame_header frame;
            frame.type = static_cast<frame_type>(1 + uniform_below(random, 10));
            frame.length = static_cast<std::uint32_t>(uniform_below(random, 100));
            frame.a = frame.length;
            frame.message = static_cast<std::uint32_t>(uniform_below(random, 3));
            frame.key = uniform_below(random, 2) == 0 ? at.remote(0).rkey : 0;
            frame.address = at.remote(0).address;
            tcp::encode(frame, std::span<std::byte, tcp::header_bytes>(bytes.data() + i, tcp::header_bytes));
        }
        at.receive(1, 0, 64);
        at.send({}, {at.segment(0, 10)});
        peer.send(bytes);
        for (int i = 0; i != 20; ++i)
            at.poll();
        b.receive(seed, 0, 8);
        a.send({}, {a.segment(0, 8)});
        CHECK(next_completion(b, {&a, &b}).status == completion_status::success);
        CHECK(next_completion(a, {&a, &b}).status == completion_status::success);
    }
}

TEST_CASE("garbage to a listener is closed and counted")
{
    const auto from = make_tcp_provider();
    side at(*from);
    std::uint64_t expected = 0;
    for (std::uint64_t seed = 0; seed != 40; ++seed) {
        seeded_random_source random(seed);
        raw_peer peer(at.listening->local_endpoint());
        std::vector<std::byte> bytes(tcp::header_bytes + uniform_below(random, 200));
        random.fill(bytes);
        if (seed % 4 == 1) { // right magic, wrong afterwards
            tcp::handshake_header hello;
            hello.version = 2;
            tcp::encode(hello, std::span<std::byte, tcp::header_bytes>(bytes.data(), tcp::header_bytes));
        } else if (seed % 4 == 2) { // an answer to a question never asked
            tcp::handshake_header hello;
            hello.kind = tcp::handshake_kind::accept;
            tcp::encode(hello, std::span<std::byte, tcp::header_bytes>(bytes.data(), tcp::header_bytes));
        }
        peer.send(bytes);
        std::vector<std::byte> answer;
        run_until("closed", {&at}, [&] { return !peer.receive(answer); });
        CHECK(answer.empty());
        CHECK(at.listening->refused_handshakes() == ++expected);
    }
    CHECK_FALSE(has_event(at, connection_event_type::connect_request));
    side other(*from);
    connect(other, at); // it still listens
}

TEST_CASE("a peer that says nothing is dropped in time")
{
    const auto from = make_tcp_provider();
    side at(*from);
    listen_options options;
    options.handshake_timeout = std::chrono::milliseconds(20);
    at.listening = must(at.channel->listen({boost::asio::ip::address_v4::loopback(), 0}, options));
    raw_peer silent(at.listening->local_endpoint());
    raw_peer half(at.listening->local_endpoint());
    half.send(std::vector<std::byte>(10, std::byte{'P'}));
    std::vector<std::byte> rest;
    run_until("both dropped", {&at}, [&] { return !silent.receive(rest) && !half.receive(rest); });
    CHECK(at.listening->refused_handshakes() == 2);
}

TEST_CASE("an accepted peer that never gets ready is given up")
{
    const auto from = make_tcp_provider();
    side at(*from);
    listen_options options;
    options.handshake_timeout = std::chrono::milliseconds(20);
    at.listening = must(at.channel->listen({boost::asio::ip::address_v4::loopback(), 0}, options));
    raw_peer peer(at.listening->local_endpoint());
    peer.send(tcp::handshake_header{});
    run_until("a request", {&at}, [&] { return has_event(at, connection_event_type::connect_request); });
    for (auto& event : at.events)
        if (event.incoming)
            at.link = std::move(event.incoming);
    at.receive(1, 0, 8);
    REQUIRE_FALSE(at.link->accept(*at.pair, {}));
    CHECK(at.pair->state() == queue_pair_state::ready_to_receive);
    run_until("given up", {&at}, [&] { return has_event(at, connection_event_type::unreachable); });
    CHECK(at.pair->state() == queue_pair_state::error);
    CHECK(next_completion(at, {&at}).status == completion_status::flushed);
}

TEST_CASE("a backlog is a bound")
{
    const auto from = make_tcp_provider();
    side at(*from);
    listen_options options;
    options.backlog = 2;
    at.listening = must(at.channel->listen({boost::asio::ip::address_v4::loopback(), 0}, options));
    std::vector<std::unique_ptr<raw_peer>> peers;
    for (int i = 0; i != 3; ++i) {
        peers.push_back(std::make_unique<raw_peer>(at.listening->local_endpoint()));
        for (int turn = 0; turn != 10; ++turn)
            at.poll();
    }
    std::vector<std::byte> rest;
    run_until("the third is closed", {&at}, [&] { return !peers[2]->receive(rest); });
    CHECK(peers[0]->receive(rest));
    CHECK(peers[1]->receive(rest));
}
