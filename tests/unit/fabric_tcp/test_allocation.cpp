// The data path takes nothing from the heap, and an idle queue pair holds little.

#include "fabric/tcp/link.hpp"
#include "fabric/tcp/queue_pair.hpp"
#include "unit/fabric_tcp/allocation.hpp"
#include "unit/fabric_tcp/world.hpp"

using namespace penstock;
using namespace penstock::test;

TEST_CASE("no allocation on the data path")
{
    const auto from = make_tcp_provider();
    side a(*from);
    side b(*from);
    connect(a, b);
    const auto from_a = a.segment(0, 20'000);
    const auto into_b = b.segment(0, 20'000);
    const receive_request receive{0, {&into_b, 1}};
    std::array<send_request, 4> requests;
    for (auto& each : requests) {
        each.local = {&from_a, 1};
        each.remote = b.remote(0);
    }
    requests[0].operation = opcode::write;
    requests[1].operation = opcode::send;
    requests[2].operation = opcode::read;
    requests[3].operation = opcode::write_with_immediate;
    std::array<work_completion, 8> done;
    std::size_t completed = 0;
    const auto start = system_clock_source().now();
    const auto before = allocations();
    for (int round = 0; round != 200; ++round) {
        // Every other round the receives come late, so that the messages are sent again.
        const bool late = round % 2 == 1;
        for (int i = 0; i != 2 && !late; ++i)
            (void)b.pair->post_receive({&receive, 1});
        (void)a.pair->post_send(requests);
        for (std::size_t got = 0, turn = 0; got != 6; ++turn) {
            if (late && turn == 5)
                for (int i = 0; i != 2; ++i)
                    (void)b.pair->post_receive({&receive, 1});
            for (auto* queue : {a.completions.get(), b.completions.get()}) {
                const auto count = queue->poll(done);
                for (std::size_t i = 0; i != count; ++i)
                    completed += done[i].status == completion_status::success ? 1U : 0U;
                got += count;
            }
            if (system_clock_source().now() - start > std::chrono::seconds(20))
                FAIL("stuck");
        }
    }
    const auto after = allocations();
    CHECK(completed == 200 * 6);
    CHECK(after == before);
}

TEST_CASE("an idle queue pair holds little besides the rings it was asked for")
{
    CHECK(sizeof(tcp::queue_pair) + sizeof(tcp::link) <= 2'048);
}

TEST_CASE("a completion queue that overruns is dead, loudly")
{
    const auto from = make_tcp_provider();
    side a(*from);
    side b(*from);
    // Receives of a shared queue are not reserved for: they can overrun.
    const auto shared = must(b.domain->create_shared_receive_queue({64, 1}));
    const auto narrow = must(b.hardware->create_completion_queue(8));
    queue_pair_options wanted;
    wanted.send_completions = wanted.receive_completions = narrow.get();
    wanted.shared_receives = shared.get();
    wanted.send_depth = 4;
    b.pair = must(b.domain->create_queue_pair(wanted));
    connect(a, b);
    for (std::uint64_t id = 0; id != 20; ++id) {
        const receive_request receive{id, {}};
        REQUIRE(shared->post_receive({&receive, 1}).posted == 1);
        a.send({}, {});
    }
    std::array<device_event, 2> events;
    run_until("the completion queue's error", {&a}, [&] {
        narrow->poll({});
        return b.hardware->poll_events(events) != 0;
    });
    CHECK(events[0].type == device_event_type::completion_queue_error);
    run_until("both in ERROR", {&a}, [&] {
        narrow->poll({});
        return a.pair->state() == queue_pair_state::error && b.pair->state() == queue_pair_state::error;
    });
    b.link.reset();
    b.pair.reset();
}
