// fabric_tcp_bench WHAT BYTES DEPTH [SECONDS]
//
// WHAT: write, read, send, pingpong over the tcp fabric, or bare: a spinning socket pair that moves the same messages with
// sendmsg and recvmsg and nothing else. Two threads over loopback. Prints messages and bytes per second, or for
// pingpong the round trip. Run bare beside the others: the machine's noise is larger than most differences.

#include <penstock/core/clock.hpp>
#include <penstock/fabric/tcp.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

using namespace penstock;
using namespace penstock::fabric;

namespace {

template <class T>
T must(result<T> made)
{
    return std::move(made).value();
}

struct side {
    std::unique_ptr<device> hardware;
    std::unique_ptr<protection_domain> domain;
    std::vector<std::byte> memory;
    std::unique_ptr<memory_region> region;
    std::unique_ptr<completion_queue> completions;
    std::unique_ptr<queue_pair> pair;
    std::unique_ptr<connection_channel> channel;
    std::unique_ptr<connection> link;

    side(provider& from, std::size_t bytes, std::uint32_t depth)
        : hardware(must(from.open()))
        , domain(must(hardware->allocate_protection_domain()))
        , memory(bytes)
        , region(
              must(domain->register_memory(memory, access::local_write | access::remote_write | access::remote_read)))
        , completions(must(hardware->create_completion_queue(4 * depth)))
        , channel(must(from.create_connection_channel()))
    {
        queue_pair_options options;
        options.send_completions = options.receive_completions = completions.get();
        options.send_depth = depth;
        options.receive_depth = 2 * depth;
        pair = must(domain->create_queue_pair(options));
    }
};

void connect(side& a, side& b)
{
    auto listener = must(b.channel->listen({boost::asio::ip::address_v4::loopback(), 0}));
    a.link = must(a.channel->resolve(listener->local_endpoint()));
    connect_options options;
    options.path.initiator_depth = options.path.responder_resources = 64;
    for (int established = 0; established != 2;) {
        std::array<connection_event, 4> events;
        for (auto* each : {&a, &b}) {
            const auto count = each->channel->poll(events);
            for (std::size_t i = 0; i != count; ++i) {
                if (events[i].type == connection_event_type::resolved) {
                    a.link->connect(*a.pair, options);
                } else if (events[i].type == connection_event_type::connect_request) {
                    b.link = std::move(events[i].incoming);
                    b.link->accept(*b.pair, options);
                } else if (events[i].type == connection_event_type::established) {
                    ++established;
                }
            }
        }
    }
}

struct measured {
    std::uint64_t messages = 0;
    double seconds = 0;
};

double since(time_point start)
{
    return std::chrono::duration<double>(system_clock_source().now() - start).count();
}

measured stream(side& a, side& b, opcode operation, std::uint32_t bytes, std::uint32_t depth, double seconds)
{
    std::atomic<bool> stop{false};
    const bool sends = operation == opcode::send;
    std::thread target([&] {
        std::array<work_completion, 64> done;
        const local_segment segment{b.memory.data(), bytes, b.region->lkey()};
        const receive_request receive{0, {&segment, 1}};
        for (std::uint32_t i = 0; sends && i != 2 * depth; ++i)
            (void)b.pair->post_receive({&receive, 1});
        while (!stop.load(std::memory_order_relaxed))
            for (auto count = b.completions->poll(done); count != 0; --count)
                (void)b.pair->post_receive({&receive, 1});
    });
    std::vector<local_segment> segments(depth);
    std::vector<send_request> list(depth);
    const auto slots = std::max<std::size_t>(1, a.memory.size() / std::max(bytes, 1U));
    for (std::uint32_t i = 0; i != depth; ++i) {
        const auto offset = i % slots * bytes;
        segments[i] = {a.memory.data() + offset, bytes, a.region->lkey()};
        list[i].operation = operation;
        list[i].local = {&segments[i], 1};
        list[i].remote = {reinterpret_cast<std::uint64_t>(b.memory.data() + offset), b.region->rkey()};
    }
    std::array<work_completion, 64> done;
    std::uint64_t completed = 0;
    std::uint64_t next = 0;
    const auto start = system_clock_source().now();
    auto idle = depth;
    double elapsed = 0;
    for (std::uint64_t turn = 0; elapsed < seconds; ++turn) {
        // One doorbell for what has come free, as a poller posts.
        while (idle != 0) {
            const auto at = static_cast<std::size_t>(next % depth);
            const auto run = std::min<std::size_t>(idle, depth - at);
            if (a.pair->post_send({list.data() + at, run}).posted != run)
                std::abort();
            next += run;
            idle -= static_cast<std::uint32_t>(run);
        }
        const auto count = a.completions->poll(done);
        for (std::size_t i = 0; i != count; ++i)
            if (done[i].status != completion_status::success) {
                std::fprintf(stderr, "failed: %s\n", std::string(to_string(done[i].status)).c_str());
                std::exit(1);
            }
        completed += count;
        idle += static_cast<std::uint32_t>(count);
        if (turn % 256 == 0)
            elapsed = since(start);
    }
    const measured result{completed, since(start)};
    stop = true;
    target.join();
    return result;
}

measured ping_pong(side& a, side& b, std::uint32_t bytes, double seconds)
{
    std::atomic<bool> stop{false};
    const auto play = [bytes](side& self) {
        const local_segment segment{self.memory.data(), bytes, self.region->lkey()};
        const receive_request receive{0, {&segment, 1}};
        send_request send;
        send.local = {&segment, 1};
        (void)self.pair->post_receive({&receive, 1});
        (void)self.pair->post_send({&send, 1});
    };
    const auto wait = [&stop](side& self) {
        std::array<work_completion, 16> done;
        while (!stop.load(std::memory_order_relaxed)) {
            const auto count = self.completions->poll(done);
            for (std::size_t i = 0; i != count; ++i)
                if (done[i].operation == completion_opcode::receive)
                    return true;
        }
        return false;
    };
    const local_segment first{b.memory.data(), bytes, b.region->lkey()};
    const receive_request receive{0, {&first, 1}};
    (void)b.pair->post_receive({&receive, 1});
    std::thread target([&] {
        while (wait(b))
            play(b);
    });
    std::uint64_t rounds = 0;
    const auto start = system_clock_source().now();
    while (since(start) < seconds) {
        for (int i = 0; i != 100; ++i) {
            play(a);
            wait(a);
        }
        rounds += 100;
    }
    const measured result{rounds, since(start)};
    stop = true;
    target.join();
    return result;
}

void socket_pair(int (&ends)[2])
{
    const int listening = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof name;
    if (::bind(listening, reinterpret_cast<sockaddr*>(&name), size) != 0 || ::listen(listening, 1) != 0)
        std::abort();
    ::getsockname(listening, reinterpret_cast<sockaddr*>(&name), &size);
    ends[0] = ::socket(AF_INET, SOCK_STREAM, 0);
    if (::connect(ends[0], reinterpret_cast<sockaddr*>(&name), size) != 0)
        std::abort();
    ends[1] = ::accept(listening, nullptr, nullptr);
    ::close(listening);
    const int on = 1;
    for (const int end : ends)
        ::setsockopt(end, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/// `depth` requests of 48 bytes outstanding, each answered by 48 bytes and the payload: the shape of a read.
measured bare(std::uint32_t bytes, std::uint32_t depth, double seconds)
{
    constexpr std::size_t header = 48;
    const std::size_t answer = header + bytes;
    int ends[2];
    socket_pair(ends);
    std::atomic<bool> stop{false};
    std::thread server([&] {
        std::vector<std::byte> payload(bytes + header);
        std::vector<std::byte> requests(header * 256);
        std::size_t owed = 0; // bytes of answers
        std::size_t partial = 0;
        while (!stop.load(std::memory_order_relaxed)) {
            const auto got = ::recv(ends[1], requests.data(), requests.size(), MSG_DONTWAIT);
            if (got > 0) {
                partial += static_cast<std::size_t>(got);
                owed += partial / header * answer;
                partial %= header;
            }
            while (owed != 0 && !stop.load(std::memory_order_relaxed)) {
                std::array<iovec, 64> pieces;
                std::size_t count = 0;
                std::size_t sum = 0;
                for (; count != pieces.size() && sum < owed && sum < (1U << 20U); ++count) {
                    const auto run = (owed - sum - 1) % answer + 1; // what is left of the oldest answer
                    pieces[count] = {payload.data(), run};
                    sum += run;
                }
                msghdr message{};
                message.msg_iov = pieces.data();
                message.msg_iovlen = count;
                const auto sent = ::sendmsg(ends[1], &message, MSG_DONTWAIT | MSG_NOSIGNAL);
                if (sent > 0)
                    owed -= static_cast<std::size_t>(sent);
                else
                    break;
            }
        }
    });
    std::vector<std::byte> requests(header * depth);
    std::vector<std::byte> landing(std::max<std::size_t>(answer, 256U << 10U));
    std::uint64_t completed = 0;
    std::size_t have = 0;
    std::size_t idle = depth;
    const auto start = system_clock_source().now();
    double elapsed = 0;
    for (std::uint64_t turn = 0; elapsed < seconds; ++turn) {
        if (idle != 0 && ::send(ends[0], requests.data(), idle * header, MSG_NOSIGNAL) > 0)
            idle = 0;
        const auto got = ::recv(ends[0], landing.data(), landing.size(), MSG_DONTWAIT);
        if (got > 0) {
            have += static_cast<std::size_t>(got);
            idle += have / answer;
            completed += have / answer;
            have %= answer;
        }
        if (turn % 256 == 0)
            elapsed = since(start);
    }
    const measured result{completed, since(start)};
    stop = true;
    ::shutdown(ends[0], SHUT_RDWR);
    server.join();
    ::close(ends[0]);
    ::close(ends[1]);
    return result;
}

std::uint32_t number_from(const char* name, std::uint32_t otherwise)
{
    const char* text = std::getenv(name);
    return text ? static_cast<std::uint32_t>(std::strtoul(text, nullptr, 10)) : otherwise;
}

} // namespace

int main(int count, char** values)
{
    if (count < 4) {
        std::fputs("usage: fabric_tcp_bench write|read|send|pingpong|bare BYTES DEPTH [SECONDS]\n", stderr);
        return 2;
    }
    const std::string_view what = values[1];
    const auto bytes = static_cast<std::uint32_t>(std::strtoul(values[2], nullptr, 10));
    const auto depth = static_cast<std::uint32_t>(std::strtoul(values[3], nullptr, 10));
    const double seconds = count > 4 ? std::strtod(values[4], nullptr) : 2;
    measured result;
    if (what == "bare") {
        result = bare(bytes, depth, seconds);
    } else {
        tcp_options options;
        options.direct_bytes_min = number_from("DIRECT_BYTES_MIN", 0);
        options.fragment_bytes_max = number_from("FRAGMENT_BYTES_MAX", 0);
        options.send_buffer_bytes = number_from("SEND_BUFFER_BYTES", 0);
        options.receive_buffer_bytes = number_from("RECEIVE_BUFFER_BYTES", 0);
        const auto from = make_tcp_provider(options);
        const auto memory
            = std::max<std::size_t>(1U << 20U, std::min<std::size_t>(std::size_t{bytes} * depth, 16U << 20U));
        side a(*from, memory, depth);
        side b(*from, memory, depth);
        connect(a, b);
        if (what == "pingpong")
            result = ping_pong(a, b, bytes, seconds);
        else
            result = stream(a, b,
                what == "read"       ? opcode::read
                    : what == "send" ? opcode::send
                                     : opcode::write,
                bytes, depth, seconds);
        a.link.reset();
        b.link.reset();
    }
    const double rate = static_cast<double>(result.messages) / result.seconds;
    std::printf("%s %u B depth %u: %.0f k/s, %.2f GB/s, %.2f us each\n", values[1], bytes, depth, rate / 1e3,
        rate * bytes / 1e9, 1e6 / rate);
    return 0;
}
