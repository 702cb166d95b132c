#include "fake_queue.hpp"
#include "support/catch.hpp"

#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>

using namespace penstock;
using namespace penstock::test;
using namespace penstock::completion;

namespace {

struct world {
    manual_clock time;
    fake_queue queue;
    poller polled{time, {4, 2}};
    world() { polled.add(queue); }
};

struct repeating {
    static constexpr bool persistent = true;
    recorded* into;
    void complete(const fabric::work_completion&) { ++into->completions; }
};

struct owning {
    std::shared_ptr<int> held;
    void failed(const fabric::work_completion&) {}
    void complete(const fabric::work_completion&) {}
};

} // namespace

TEST_CASE("an operation completes once, and its id means nothing afterwards")
{
    world w;
    recorded seen;
    const auto id = w.polled.start<recording>(&seen).value();
    CHECK(w.polled.outstanding() == 1);
    w.queue.put(id | last_request);
    w.queue.put(id | last_request);
    CHECK(w.polled.poll() == 2);
    CHECK(seen.completions == 1);
    CHECK(w.polled.outstanding() == 0);
    CHECK(w.polled.statistics().stale_completions == 1);

    recorded next;
    const auto same_slot = w.polled.start<recording>(&next).value();
    REQUIRE(same_slot != id);
    REQUIRE((same_slot & 0xff'ffffU) == (id & 0xff'ffffU));
    w.queue.put(id | last_request);
    (void)w.polled.poll();
    CHECK(next.completions == 0);
    w.queue.put(same_slot | last_request);
    (void)w.polled.poll();
    CHECK(next.completions == 1);
}

TEST_CASE("ids that no slot has are ignored")
{
    world w;
    for (const std::uint64_t id : {std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{4}, last_request | 0xff'ffffU}) {
        w.queue.put(id);
    }
    CHECK(w.polled.poll() == 4);
    CHECK(w.polled.statistics().stale_completions == 4);
}

TEST_CASE("a chain is told its failures and then, once, its end")
{
    world w;
    recorded seen;
    const auto id = w.polled.start<recording>(&seen).value();
    w.queue.put(id, completion_status::remote_access_error);
    w.queue.put(id, completion_status::flushed);
    (void)w.polled.poll();
    CHECK(seen.completions == 0);
    CHECK(w.polled.outstanding() == 1);
    w.queue.put(id | last_request, completion_status::flushed);
    (void)w.polled.poll();
    CHECK(seen.failures == 2);
    CHECK(seen.first_failure == completion_status::remote_access_error);
    CHECK(seen.completions == 1);
    CHECK(w.polled.outstanding() == 0);
}

TEST_CASE("a persistent operation stays until it is released, and keeps no driver busy")
{
    world w;
    recorded seen;
    const auto id = w.polled.start<repeating>(&seen).value();
    CHECK(w.polled.outstanding() == 0);
    for (int turn = 0; turn != 3; ++turn) {
        w.queue.put(id);
    }
    (void)w.polled.poll();
    CHECK(seen.completions == 3);
    w.polled.release(id);
    w.polled.release(id);
    w.queue.put(id);
    (void)w.polled.poll();
    CHECK(seen.completions == 3);
}

TEST_CASE("slots are bounded and come back")
{
    world w;
    recorded seen;
    std::vector<operation_id> ids;
    for (int i = 0; i != 4; ++i) {
        ids.push_back(w.polled.start<recording>(&seen).value());
    }
    CHECK(w.polled.start<recording>(&seen).error() == errc::send_queue_full);
    CHECK(w.polled.outstanding() == 4);
    w.polled.release(ids[2]);
    CHECK(w.polled.start<recording>(&seen).has_value());
    CHECK(seen.completions == 0);
}

TEST_CASE("a handler that throws strands no other completion of its batch")
{
    world w;
    recorded first;
    recorded second;
    const auto a = w.polled.start<recording>(&first, [] { throw std::runtime_error("a handler's"); }).value();
    const auto b = w.polled.start<recording>(&second).value();
    w.queue.put(a | last_request);
    w.queue.put(b | last_request);
    CHECK_THROWS_AS(w.polled.poll(), std::runtime_error);
    CHECK(w.polled.outstanding() == 1);
    CHECK(w.polled.poll() == 1);
    CHECK(second.completions == 1);
    CHECK(w.polled.outstanding() == 0);
}

TEST_CASE("a poller destroys what is still in flight")
{
    const auto held = std::make_shared<int>(1);
    {
        world w;
        (void)w.polled.start<owning>(held).value();
        CHECK(held.use_count() == 2);
    }
    CHECK(held.use_count() == 1);
}

TEST_CASE("several queues share a poller's turn, each with a bounded batch")
{
    manual_clock time;
    std::vector<fake_queue> queues(3);
    poller polled{time, {64, 4, 5}};
    for (auto& each : queues) {
        polled.add(each);
    }
    recorded seen;
    for (std::size_t i = 0; i != 3; ++i) {
        for (std::size_t n = 0; n != 6 * i; ++n) { // 0, 6 and 12 of them
            queues[i].put(polled.start<recording>(&seen).value() | last_request);
        }
    }
    CHECK(polled.poll() == 10);
    CHECK(polled.poll() == 6);
    CHECK(polled.poll() == 2);
    CHECK(polled.poll() == 0);
    CHECK(seen.completions == 18);
    const auto& counted = polled.statistics();
    CHECK(counted.completions == 18);
    CHECK(counted.batches[0] == 1); // of one
    CHECK(counted.batches[1] == 1); // of two
    CHECK(counted.batches[2] == 3); // of five
    CHECK(counted.handler_time == duration(0));
}

TEST_CASE("a handler may poll, add a queue, and remove one")
{
    world w;
    fake_queue more;
    struct acting {
        std::function<void()> act;
        void failed(const fabric::work_completion&) {}
        void complete(const fabric::work_completion&) { act(); }
    };
    recorded seen;
    w.queue.put(w.polled
                    .start<acting>([&] {
                        w.polled.add(more);
                        w.polled.remove(w.queue);
                        CHECK(w.polled.poll() == 2);
                    })
                    .value()
        | last_request);
    w.queue.put(w.polled.start<recording>(&seen).value() | last_request);
    more.put(w.polled.start<recording>(&seen).value() | last_request);
    (void)w.polled.poll();
    CHECK(seen.completions == 2);
    w.queue.put(w.polled.start<recording>(&seen).value() | last_request);
    CHECK(w.polled.poll() == 0);
}

TEST_CASE("the time in handlers is taken when it is asked for, of those that throw too")
{
    manual_clock time;
    fake_queue queue;
    poller polled{time, {4, 2, 64, true}};
    polled.add(queue);
    struct slow {
        manual_clock* time;
        bool fails;
        void failed(const fabric::work_completion&) {}
        void complete(const fabric::work_completion&)
        {
            time->advance(std::chrono::seconds(1));
            if (fails) {
                throw std::runtime_error("a handler's");
            }
        }
    };
    queue.put(polled.start<slow>(&time, false).value() | last_request);
    queue.put(polled.start<slow>(&time, true).value() | last_request);
    CHECK_THROWS_AS(polled.poll(), std::runtime_error);
    CHECK(polled.statistics().handler_time == std::chrono::seconds(2));
}

TEST_CASE("options out of range are refused")
{
    manual_clock time;
    CHECK_THROWS_AS(poller(time, {1, 1, 0}), system_error);
    CHECK_THROWS_AS(poller(time, {1, 1, 4'096}), system_error);
    CHECK_NOTHROW(poller(time, {1, 1, 4'095}));
    CHECK_THROWS_AS(poller(time, {0, 1}), system_error);
    CHECK_THROWS_AS(poller(time, {1, 0}), system_error);
    CHECK_THROWS_AS(poller(time, {(1U << 24U) + 1, 1}), system_error);
}
