// Many queue pairs on one completion queue, descriptors, threads.

#include "unit/fabric_tcp/world.hpp"

#include <atomic>
#include <thread>

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace penstock;
using namespace penstock::test;

namespace {

bool readable(int descriptor, int milliseconds)
{
    pollfd wanted{descriptor, POLLIN, 0};
    return ::poll(&wanted, 1, milliseconds) == 1;
}

} // namespace

TEST_CASE("everything closes what it opened")
{
    const auto from = make_tcp_provider();
    const auto before = open_descriptors();
    for (int i = 0; i != 3; ++i) {
        side a(*from);
        side b(*from);
        connect(a, b);
        b.receive(1, 0, 8);
        a.send({}, {a.segment(0, 8)});
        CHECK(next_completion(b, {&a, &b}).status == completion_status::success);
        if (i == 1) {
            a.pair.reset();
            b.link.reset();
        }
    }
    CHECK(open_descriptors() == before);
}

TEST_CASE("one completion queue serves many queue pairs")
{
    constexpr std::size_t count = 20;
    const auto from = make_tcp_provider();
    side_options options;
    options.depth = 16 * (count + 1);
    side hub(*from, options);
    std::vector<std::unique_ptr<queue_pair>> pairs;
    std::vector<std::unique_ptr<connection>> links;
    std::vector<std::unique_ptr<side>> spokes;
    queue_pair_options wanted;
    wanted.send_completions = wanted.receive_completions = hub.completions.get();
    wanted.send_depth = wanted.receive_depth = 4;
    // The hub's first queue pair makes room.
    hub.pair.reset();
    for (std::size_t i = 0; i != count; ++i) {
        spokes.push_back(std::make_unique<side>(*from));
        hub.pair = must(hub.domain->create_queue_pair(wanted));
        hub.events.clear();
        connect(*spokes.back(), hub);
        pairs.push_back(std::move(hub.pair));
        links.push_back(std::move(hub.link));
    }
    for (int round = 0; round != 3; ++round) {
        for (std::size_t i = 0; i != count; ++i) {
            const auto into = hub.segment(i * 64, 64);
            const receive_request receive{i, {&into, 1}};
            REQUIRE(pairs[i]->post_receive({&receive, 1}).posted == 1);
            spokes[i]->memory[0] = static_cast<std::byte>(i + 1);
            spokes[i]->send({}, {spokes[i]->segment(0, 64)});
        }
        std::vector<side*> all{&hub};
        for (auto& spoke : spokes)
            all.push_back(spoke.get());
        for (std::size_t i = 0; i != count; ++i) {
            const auto told = next_completion(hub, all);
            REQUIRE(told.status == completion_status::success);
            CHECK(told.queue_pair_number == pairs[told.id]->number());
            CHECK(hub.memory[told.id * 64] == static_cast<std::byte>(told.id + 1));
        }
        for (auto& spoke : spokes)
            CHECK(next_completion(*spoke, all).status == completion_status::success);
    }
    spokes.clear();
    run_until("all told to be gone", {&hub}, [&] {
        return std::ranges::all_of(pairs, [](const auto& pair) { return pair->state() == queue_pair_state::error; });
    });
    links.clear();
    pairs.clear();
}

TEST_CASE("a sleeper is woken by data, by a receiver-not-ready wait and by another thread's disconnect")
{
    const auto from = make_tcp_provider();
    side_options options;
    options.path.rnr_delay = std::chrono::milliseconds(20);
    side a(*from, options);
    side b(*from, options);
    connect(a, b);

    // A message that finds no receive: the sender may sleep until its wait ends.
    a.send({}, {a.segment(0, 8)});
    bool posted = false;
    std::array<work_completion, 4> done;
    const auto start = system_clock_source().now();
    for (std::size_t received = 0, sent = 0; received + sent != 2;) {
        b.completions->arm();
        received += b.completions->poll(done);
        if (!posted && system_clock_source().now() - start > std::chrono::milliseconds(5)) {
            b.receive(1, 0, 8);
            posted = true;
        }
        a.completions->arm();
        const auto count = a.completions->poll(done);
        sent += count;
        if (count == 0 && posted && readable(a.completions->descriptor(), 0))
            a.completions->acknowledge();
        REQUIRE(system_clock_source().now() - start < std::chrono::seconds(10));
    }

    b.receive(2, 0, 8);
    b.completions->arm();
    CHECK(b.completions->poll(done) == 0);
    std::thread other([&] { b.link->disconnect(); });
    CHECK(readable(b.completions->descriptor(), 10'000));
    other.join();
    const auto flushed = next_completion(b, {&b});
    CHECK(flushed.id == 2);
    CHECK(flushed.status == completion_status::flushed);
    run_until("disconnected", {&a, &b}, [&] { return has_event(a, connection_event_type::disconnected); });
    CHECK(a.pair->state() == queue_pair_state::error);
}

TEST_CASE("one thread polls while another disconnects and deregisters")
{
    const auto from = make_tcp_provider();
    for (int round = 0; round != 20; ++round) {
        side a(*from);
        side b(*from);
        connect(a, b);
        std::atomic<bool> stop{false};
        std::thread poller([&] {
            std::array<work_completion, 16> done;
            while (!stop)
                b.completions->poll(done);
        });
        const auto segment = a.segment(0, 32'768);
        send_request write;
        write.operation = opcode::write;
        write.local = {&segment, 1};
        write.remote = b.remote(0);
        std::array<work_completion, 16> done;
        std::uint64_t completed = 0;
        std::size_t outstanding = 0;
        bool failed = false;
        std::thread other;
        const auto start = system_clock_source().now();
        while (!failed) {
            for (; outstanding < 16; ++outstanding)
                REQUIRE(a.pair->post_send({&write, 1}).posted == 1);
            const auto count = a.completions->poll(done);
            for (std::size_t i = 0; i != count; ++i)
                failed = failed || done[i].status != completion_status::success;
            completed += count;
            outstanding -= count;
            if (completed > 50 && !other.joinable())
                other = std::thread([&] {
                    if (round % 2 == 0)
                        b.region->deregister();
                    else
                        b.link->disconnect();
                });
            if (system_clock_source().now() - start > std::chrono::seconds(20))
                FAIL("no failure after the revocation");
        }
        other.join();
        run_until("the other side is in ERROR", {&a}, [&] { return b.pair->state() == queue_pair_state::error; });
        stop = true;
        poller.join();
    }
}

TEST_CASE("a listener without descriptors sheds connections and does not spin")
{
    const auto from = make_tcp_provider();
    side a(*from);
    side b(*from);
    rlimit old{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &old) == 0);
    raw_peer first(b.listening->local_endpoint());
    std::vector<std::byte> ignored;
    auto low = old;
    low.rlim_cur = 256;
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &low) == 0);
    std::vector<int> fillers;
    for (int each = ::dup(0); each >= 0; each = ::dup(0))
        fillers.push_back(each);
    const auto start = system_clock_source().now();
    bool open = true;
    while (open && system_clock_source().now() - start < std::chrono::seconds(10)) {
        std::array<connection_event, 1> events;
        b.channel->poll(events);
        open = first.receive(ignored);
    }
    for (const int each : fillers)
        ::close(each);
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &old) == 0);
    CHECK_FALSE(open);
    CHECK_FALSE(readable(b.channel->descriptor(), 0));
    connect(a, b);
}
