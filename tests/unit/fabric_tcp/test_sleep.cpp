// Waking a sleeper for other things than input: a socket that takes more again, a delay that is over.

#include "fabric/tcp/queue_pair.hpp"
#include "unit/fabric_tcp/world.hpp"

#include <poll.h>

using namespace penstock;
using namespace penstock::test;
using tcp::frame_header;
using tcp::frame_type;

namespace {

bool awaits_room(side& at)
{
    return dynamic_cast<tcp::queue_pair&>(*at.pair).output_blocked();
}

/// Sleeps as a poller does; fails when nothing wakes it. Only while `awaits`: arming may have found the room that was awaited.
void sleep_once(
    side& at, bool (*awaits)(side&) = [](side&) { return true; })
{
    REQUIRE_FALSE(at.completions->arm());
    if (!awaits(at))
        return;
    pollfd waiting{at.completions->descriptor(), POLLIN, 0};
    REQUIRE(::poll(&waiting, 1, 10'000) == 1);
    at.completions->acknowledge();
    at.poll();
}

constexpr std::size_t messages = 24;

/// Queue pairs on the same completion queue: with few of them their sockets are looked at one by one, with many by epoll.
std::vector<std::unique_ptr<queue_pair>> make_room_for(side& at, std::size_t idle)
{
    queue_pair_options options;
    options.send_completions = options.receive_completions = at.completions.get();
    options.send_depth = messages;
    options.receive_depth = 1;
    at.pair.reset();
    at.pair = must(at.domain->create_queue_pair(options));
    options.send_depth = 1;
    std::vector<std::unique_ptr<queue_pair>> made;
    for (std::size_t i = 0; i != idle; ++i)
        made.push_back(must(at.domain->create_queue_pair(options)));
    return made;
}

} // namespace

TEST_CASE("a sleeper is woken when its socket takes more")
{
    tcp_options options;
    options.send_buffer_bytes = 4'096;
    const auto from = make_tcp_provider(options);
    side at(*from);
    const auto idle = make_room_for(at, GENERATE(std::size_t{0}, std::size_t{8}));
    raw_peer peer(at.listening->local_endpoint());
    peer.shake_hands(at);
    for (std::size_t i = 0; i != messages; ++i)
        at.send({}, {at.segment(0, at.memory.size())});
    for (int i = 0; i != 100; ++i)
        at.poll();
    std::vector<std::byte> taken;
    while (taken.size() < messages * at.memory.size()) {
        REQUIRE(peer.receive(taken)); // it only reads: nothing comes back that could wake
        if (taken.size() < messages * at.memory.size())
            sleep_once(at, awaits_room);
    }
}

TEST_CASE("a sleeper is woken when the delay a receiver asked for is over")
{
    const auto from = make_tcp_provider();
    side at(*from);
    const auto idle = make_room_for(at, GENERATE(std::size_t{0}, std::size_t{8}));
    raw_peer peer(at.listening->local_endpoint());
    peer.shake_hands(at);
    at.send({}, {at.segment(0, 1)});
    CHECK(peer.frames(at, 1).front().message == 0);
    frame_header refusal;
    refusal.type = frame_type::negative_acknowledge;
    refusal.code = static_cast<std::uint16_t>(tcp::refusal::receiver_not_ready);
    refusal.a = 20'000;
    peer.send(refusal);
    std::vector<std::byte> again;
    while (again.size() < tcp::header_bytes) {
        sleep_once(at);
        REQUIRE(peer.receive(again));
    }
}

TEST_CASE("what the poll behind arm() reads is answered before the sleep")
{
    const auto from = make_tcp_provider();
    side at(*from);
    const auto idle = make_room_for(at, GENERATE(std::size_t{0}, std::size_t{8}));
    raw_peer peer(at.listening->local_endpoint());
    peer.shake_hands(at);
    for (int i = 0; i != 100; ++i)
        at.poll();
    at.completions->acknowledge(); // what the handshake rang
    REQUIRE_FALSE(at.completions->arm());
    const std::array payload{std::byte{1}, std::byte{2}, std::byte{3}};
    frame_header write;
    write.type = frame_type::write;
    write.length = static_cast<std::uint32_t>(payload.size());
    write.a = payload.size();
    write.address = at.remote(0).address;
    write.key = at.remote(0).rkey;
    peer.send(write, payload);
    pollfd waiting{at.completions->descriptor(), POLLIN, 0};
    REQUIRE(::poll(&waiting, 1, 10'000) == 1);
    std::array<work_completion, 4> none;
    CHECK(at.completions->poll(none) == 0); // so that its owner sleeps now
    CHECK(at.memory[2] == std::byte{3});
    std::vector<std::byte> answer;
    REQUIRE(peer.receive(answer));
    CHECK(answer.size() == tcp::header_bytes); // an acknowledgement
}
