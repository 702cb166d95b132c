#include "unit/fabric_tcp/world.hpp"

#include <array>
#include <cerrno>
#include <chrono>
#include <filesystem>

#include <sys/socket.h>
#include <unistd.h>

namespace penstock::test {

side::side(provider& from, const side_options& how)
    : options(how)
    , memory(how.bytes)
    , hardware(must(from.open()))
    , domain(must(hardware->allocate_protection_domain()))
    , region(must(domain->register_memory(memory, all_rights)))
    , completions(must(hardware->create_completion_queue(2 * how.depth)))
    , channel(must(from.create_connection_channel()))
    , listening(must(channel->listen({boost::asio::ip::address_v4::loopback(), 0})))
{
    queue_pair_options wanted;
    wanted.send_completions = wanted.receive_completions = completions.get();
    wanted.send_depth = wanted.receive_depth = how.depth;
    wanted.inline_bytes_max = 64;
    pair = must(domain->create_queue_pair(wanted));
    done.reserve(1'024);
}

local_segment side::segment(std::size_t offset, std::size_t length) const
{
    return {const_cast<std::byte*>(memory.data()) + offset, static_cast<std::uint32_t>(length), region->lkey()};
}

remote_segment side::remote(std::size_t offset) const
{
    return {reinterpret_cast<std::uint64_t>(memory.data() + offset), region->rkey()};
}

void side::receive(std::uint64_t id, std::size_t offset, std::size_t length)
{
    const auto into = segment(offset, length);
    const receive_request request{id, {&into, 1}};
    REQUIRE(pair->post_receive({&request, 1}).posted == 1);
}

void side::send(const send_request& request, std::vector<local_segment> segments)
{
    auto posted = request;
    posted.local = segments;
    const auto result = pair->post_send({&posted, 1});
    REQUIRE_FALSE(result.error);
}

void side::poll()
{
    std::array<work_completion, 16> some;
    const auto count = completions->poll(some);
    done.insert(done.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(count));
    std::array<connection_event, 4> told;
    const auto events_told = channel->poll(told);
    for (std::size_t i = 0; i != events_told; ++i)
        events.push_back(std::move(told[i]));
}

work_completion side::take()
{
    REQUIRE_FALSE(done.empty());
    const auto first = done.front();
    done.erase(done.begin());
    return first;
}

void run_until(const char* what, std::vector<side*> sides, const std::function<bool()>& reached)
{
    const auto start = system_clock_source().now();
    while (!reached()) {
        for (auto* each : sides)
            each->poll();
        if (system_clock_source().now() - start > std::chrono::seconds(10))
            FAIL("ten seconds in vain: " << what);
    }
}

work_completion next_completion(side& of, std::vector<side*> sides)
{
    run_until("a completion", std::move(sides), [&of] { return !of.done.empty(); });
    return of.take();
}

bool has_event(const side& at, connection_event_type type)
{
    for (const auto& event : at.events)
        if (event.type == type)
            return true;
    return false;
}

namespace {

void accept_request(side& at)
{
    for (auto& event : at.events)
        if (event.incoming)
            at.link = std::move(event.incoming);
    REQUIRE(at.link);
    connect_options options;
    options.path = at.options.path;
    REQUIRE_FALSE(at.link->accept(*at.pair, options));
}

} // namespace

void connect(side& active, side& passive)
{
    active.link = must(active.channel->resolve(passive.listening->local_endpoint()));
    run_until("resolved", {&active}, [&] { return has_event(active, connection_event_type::resolved); });
    connect_options options;
    options.path = active.options.path;
    REQUIRE_FALSE(active.link->connect(*active.pair, options));
    run_until(
        "a request", {&active, &passive}, [&] { return has_event(passive, connection_event_type::connect_request); });
    accept_request(passive);
    run_until("established", {&active, &passive}, [&] {
        return has_event(active, connection_event_type::established)
            && has_event(passive, connection_event_type::established);
    });
}

raw_peer::raw_peer(const endpoint& to)
    : socket_(::socket(to.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC, 0))
{
    REQUIRE(socket_ >= 0);
    REQUIRE(::connect(socket_, to.data(), static_cast<socklen_t>(to.size())) == 0);
}

raw_peer::~raw_peer()
{
    ::close(socket_);
}

void raw_peer::send(std::span<const std::byte> bytes)
{
    // A peer that has closed already takes no more; that is for the test to see elsewhere.
    (void)::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

void raw_peer::send(const tcp::frame_header& frame, std::span<const std::byte> payload)
{
    tcp::header_buffer header;
    tcp::encode(frame, header);
    send(header);
    if (!payload.empty())
        send(payload);
}

void raw_peer::send(const tcp::handshake_header& hello)
{
    tcp::header_buffer header;
    tcp::encode(hello, header);
    send(header);
}

bool raw_peer::receive(std::vector<std::byte>& into)
{
    std::array<std::byte, 4'096> some;
    for (;;) {
        const auto got = ::recv(socket_, some.data(), some.size(), MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN)
            return true;
        if (got <= 0)
            return false;
        into.insert(into.end(), some.begin(), some.begin() + got);
    }
}

void raw_peer::shake_hands(side& at)
{
    tcp::handshake_header hello;
    hello.kind = tcp::handshake_kind::connect;
    hello.initiator_depth = hello.responder_resources = 16;
    send(hello);
    run_until("a request", {&at}, [&] { return has_event(at, connection_event_type::connect_request); });
    accept_request(at);
    run_until("the answer", {&at}, [&] {
        REQUIRE(receive(received_));
        return received_.size() >= tcp::header_bytes;
    });
    tcp::handshake_header answer;
    REQUIRE(tcp::decode(std::span<const std::byte, tcp::header_bytes>(received_.data(), tcp::header_bytes), answer));
    REQUIRE(answer.kind == tcp::handshake_kind::accept);
    received_.erase(received_.begin(), received_.begin() + tcp::header_bytes);
    hello.kind = tcp::handshake_kind::ready;
    send(hello);
    run_until("established", {&at}, [&] { return has_event(at, connection_event_type::established); });
}

std::vector<tcp::frame_header> raw_peer::frames(side& at, std::size_t wanted)
{
    std::vector<tcp::frame_header> seen;
    run_until("frames", {&at}, [&] {
        receive(received_);
        tcp::frame_header frame;
        while (received_.size() >= tcp::header_bytes) {
            REQUIRE(
                tcp::decode(std::span<const std::byte, tcp::header_bytes>(received_.data(), tcp::header_bytes), frame));
            const auto whole = tcp::header_bytes + frame.length;
            if (received_.size() < whole)
                break;
            received_.erase(received_.begin(), received_.begin() + static_cast<std::ptrdiff_t>(whole));
            seen.push_back(frame);
        }
        return seen.size() >= wanted;
    });
    return seen;
}

std::size_t open_descriptors()
{
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& each : std::filesystem::directory_iterator("/proc/self/fd"))
        ++count;
    return count;
}

} // namespace penstock::test
