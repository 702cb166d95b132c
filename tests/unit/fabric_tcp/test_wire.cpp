// What goes over the wire, seen by a peer that is only a socket.

#include "unit/fabric_tcp/world.hpp"

using namespace penstock;
using namespace penstock::test;
using tcp::frame_header;
using tcp::frame_type;

namespace {

struct against_raw {
    std::unique_ptr<provider> from;
    side at;
    raw_peer peer;

    explicit against_raw(const tcp_options& options = {}, const side_options& how = {})
        : from(make_tcp_provider(options))
        , at(*from, how)
        , peer(at.listening->local_endpoint())
    {
        peer.shake_hands(at);
    }
    frame_header write(std::uint32_t message, std::uint32_t length)
    {
        frame_header frame;
        frame.type = frame_type::write;
        frame.message = message;
        frame.length = length;
        frame.a = length;
        frame.address = at.remote(0).address;
        frame.key = at.remote(0).rkey;
        return frame;
    }
};

} // namespace

TEST_CASE("a write is acknowledged after its last byte is placed, not before")
{
    against_raw w;
    const std::vector<std::byte> payload(20'000, std::byte{7});
    w.peer.send(w.write(0, 20'000), std::span(payload).first(19'999));
    run_until("all but one byte landed", {&w.at}, [&] { return w.at.memory[19'998] == std::byte{7}; });
    for (int i = 0; i != 20; ++i)
        w.at.poll();
    std::vector<std::byte> nothing;
    CHECK(w.peer.receive(nothing));
    CHECK(nothing.empty());
    w.peer.send(std::span(payload).first(1));
    const auto answer = w.peer.frames(w.at, 1).front();
    CHECK(answer.type == frame_type::acknowledge);
    CHECK(answer.acknowledge == 1);
    CHECK(w.at.memory[19'999] == std::byte{7});
}

TEST_CASE("an acknowledgement rides on the answer")
{
    against_raw w;
    w.at.receive(1, 0, 64);
    frame_header frame;
    frame.type = frame_type::send;
    w.peer.send(frame);
    CHECK(next_completion(w.at, {&w.at}).status == completion_status::success);
    w.at.send({}, {});
    const auto answer = w.peer.frames(w.at, 1);
    REQUIRE(answer.size() == 1);
    CHECK(answer.front().type == frame_type::send);
    CHECK(answer.front().acknowledge == 1);
}

TEST_CASE("a completion waits for the acknowledgement")
{
    against_raw w;
    w.at.send({}, {w.at.segment(0, 10)});
    CHECK(w.peer.frames(w.at, 1).front().type == frame_type::send);
    for (int i = 0; i != 50; ++i)
        w.at.poll();
    CHECK(w.at.done.empty());
    frame_header acknowledge;
    acknowledge.acknowledge = 1;
    w.peer.send(acknowledge);
    CHECK(next_completion(w.at, {&w.at}).status == completion_status::success);
}

TEST_CASE("receiver not ready: refused with the delay, dropped until it comes again")
{
    side_options how;
    how.path.rnr_delay = std::chrono::microseconds(123);
    against_raw w({}, how);
    frame_header frame;
    frame.type = frame_type::send;
    w.peer.send(frame);
    frame.message = 1;
    w.peer.send(frame);
    const auto refusal = w.peer.frames(w.at, 1);
    REQUIRE(refusal.size() == 1);
    CHECK(refusal.front().type == frame_type::negative_acknowledge);
    CHECK(refusal.front().code == static_cast<std::uint16_t>(tcp::refusal::receiver_not_ready));
    CHECK(refusal.front().message == 0);
    CHECK(refusal.front().a == 123);
    w.at.receive(1, 0, 8);
    w.at.receive(2, 0, 8);
    for (int i = 0; i != 20; ++i)
        w.at.poll();
    CHECK(w.at.done.empty()); // message 1 was dropped, however many receives there are by now
    frame.message = 0;
    w.peer.send(frame);
    frame.message = 1;
    w.peer.send(frame);
    CHECK(next_completion(w.at, {&w.at}).id == 1);
    CHECK(next_completion(w.at, {&w.at}).id == 2);
}

TEST_CASE("a refused sender waits as told and sends from its buffer again")
{
    against_raw w;
    w.at.memory[0] = std::byte{1};
    w.at.send({}, {w.at.segment(0, 1)});
    CHECK(w.peer.frames(w.at, 1).front().message == 0);
    const auto before = system_clock_source().now();
    frame_header refusal;
    refusal.type = frame_type::negative_acknowledge;
    refusal.code = static_cast<std::uint16_t>(tcp::refusal::receiver_not_ready);
    refusal.a = 30'000;
    w.peer.send(refusal);
    CHECK(w.peer.frames(w.at, 1).front().message == 0);
    CHECK(system_clock_source().now() - before >= std::chrono::milliseconds(30));
}

TEST_CASE("long messages go in fragments, and an acknowledgement passes between")
{
    tcp_options options;
    options.fragment_bytes_max = 1'000;
    against_raw w(options);
    w.at.send({}, {w.at.segment(0, 2'500)});
    const auto frames = w.peer.frames(w.at, 3);
    REQUIRE(frames.size() == 3);
    CHECK(frames[0].b == 0);
    CHECK(frames[1].b == 1'000);
    CHECK(frames[2].length == 500);
    CHECK(frames[2].a == 2'500);
}

TEST_CASE("arming sends what was deferred")
{
    against_raw w;
    w.at.receive(1, 0, 8);
    frame_header frame;
    frame.type = frame_type::send;
    w.peer.send(frame);
    CHECK(next_completion(w.at, {&w.at}).status == completion_status::success);
    w.at.completions->arm();
    std::vector<std::byte> bytes;
    const auto start = system_clock_source().now();
    while (bytes.size() < tcp::header_bytes) {
        REQUIRE(w.peer.receive(bytes));
        REQUIRE(system_clock_source().now() - start < std::chrono::seconds(10));
    }
    frame_header seen;
    REQUIRE(tcp::decode(std::span<const std::byte, tcp::header_bytes>(bytes.data(), tcp::header_bytes), seen));
    CHECK(seen.acknowledge == 1);
}

TEST_CASE("a refusal reaches a peer that keeps sending")
{
    against_raw w;
    auto frame = w.write(0, 100);
    frame.key ^= 1U;
    const std::vector<std::byte> payload(100);
    for (std::uint32_t i = 0; i != 200; ++i) {
        frame.message = i;
        w.peer.send(frame, payload);
    }
    const auto answer = w.peer.frames(w.at, 1).front();
    CHECK(answer.type == frame_type::negative_acknowledge);
    CHECK(answer.message == 0);
    CHECK(answer.code == static_cast<std::uint16_t>(tcp::refusal::remote_access));
}

TEST_CASE("a closed connection says good-bye; a death does not")
{
    against_raw w;
    SECTION("disconnect")
    {
        w.at.link->disconnect();
        CHECK(w.peer.frames(w.at, 1).front().type == frame_type::disconnect);
    }
    SECTION("move to ERROR")
    {
        w.at.pair->move_to_error();
        std::vector<std::byte> bytes;
        run_until("closed", {&w.at}, [&] { return !w.peer.receive(bytes); });
        CHECK(bytes.empty());
    }
}

TEST_CASE("a message and a disconnect right behind it: the message is acknowledged")
{
    against_raw w;
    w.at.receive(1, 0, 8);
    frame_header frame;
    frame.type = frame_type::send;
    w.peer.send(frame);
    CHECK(next_completion(w.at, {&w.at}).status == completion_status::success);
    w.at.link->disconnect();
    const auto goodbye = w.peer.frames(w.at, 1).front();
    CHECK(goodbye.type == frame_type::disconnect);
    CHECK(goodbye.acknowledge == 1);
}
