// An operation takes nothing from the heap in the steady state: what it needs was there after the first of its kind.

#include "allocation/heap_calls.hpp"
#include "support/catch.hpp"
#include "support/null_lane.hpp"
#include "unit/transfer/exposed.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <malloc.h>

#include <cstdlib>
#include <deque>
#include <new>
#include <string>
#include <vector>

using namespace penstock;
using namespace penstock::test;

namespace {

constexpr std::uint64_t warm = 500;
constexpr std::uint64_t counted = 2'000;
constexpr fabric::remote_segment nowhere{0x1000, 1};

/// Counts heap calls from the end of operation `warm` to that of operation `warm + counted`.
struct meter {
    std::uint64_t ended = 0;
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    bool failed = false;

    /// True while more are wanted.
    bool next(error_code error)
    {
        failed = failed || error.failed();
        if (++ended == warm) {
            begin = heap_calls();
        } else if (ended == warm + counted) {
            end = heap_calls();
        }
        return ended < warm + counted;
    }

    void check() const
    {
        CHECK_FALSE(failed);
        REQUIRE(ended >= warm + counted);
        CHECK(end - begin == 0);
    }
};

struct repeated {
    connection::lane* on;
    fabric::local_segment local;
    fabric::remote_segment remote;
    meter* count;

    void operator()(error_code error) const
    {
        if (count->next(error)) {
            transfer::async_read(*on, local, remote, *this);
        }
    }
};

boost::asio::awaitable<void> await_reads(
    connection::lane& on, fabric::local_segment local, fabric::remote_segment remote, meter& count)
{
    do {
        co_await transfer::async_read(on, local, remote, boost::asio::use_awaitable);
    } while (count.next({}));
}

} // namespace

TEST_CASE("every way to the heap is counted")
{
    const auto counts = [](auto&& take) {
        const auto before = heap_calls();
        void* const volatile memory = take();
        const auto calls = heap_calls() - before;
        std::free(memory);
        return calls;
    };
    CHECK(counts([] { return std::malloc(10); }) == 1);
    CHECK(counts([] { return std::calloc(2, 10); }) == 1);
    CHECK(counts([] { return std::realloc(nullptr, 10); }) == 1);
    CHECK(counts([] { return std::aligned_alloc(64, 128); }) == 1);
    CHECK(counts([] { return ::memalign(64, 128); }) == 1);
    CHECK(counts([] {
        void* memory = nullptr;
        return ::posix_memalign(&memory, 64, 128) == 0 ? memory : nullptr;
    }) == 1);
    CHECK(counts([] { return ::operator new(10); }) == 1);
    CHECK(counts([] { return ::operator new (128, std::align_val_t{64}); }) == 1);
    CHECK(counts([] { return ::strdup("inside the C library"); }) == 1);
}

TEST_CASE("callbacks on a fabric that does nothing, one at a time and many")
{
    const int depth = GENERATE(1, 64);
    null_lane world;
    meter count;
    for (int i = 0; i != depth; ++i) {
        transfer::async_read(
            *world.lane, world.local(), nowhere, repeated{world.lane.get(), world.local(), nowhere, &count});
    }
    (void)world.context.run();
    count.check();
}

TEST_CASE("awaited on a fabric that does nothing")
{
    null_lane world;
    meter count;
    boost::asio::co_spawn(
        world.context, await_reads(*world.lane, world.local(), nowhere, count), boost::asio::detached);
    (void)world.context.run();
    count.check();
}

TEST_CASE("timers of a function with two pointers start, run and stop without the heap")
{
    null_lane world;
    auto& timers = world.rt.poller().timers();
    std::uint64_t ran = 0;
    std::vector<completion::timer> many(1'000);
    for (auto& each : many) {
        each.set_action([&ran, &world] { ran += world.lane->failed() ? 0U : 1U; });
    }
    const auto begin = heap_calls();
    const auto now = world.rt.time().now();
    for (int round = 0; round != 10; ++round) {
        for (std::size_t i = 0; i != many.size(); ++i) {
            timers.start(many[i], now + std::chrono::microseconds(i * 100));
        }
        while (timers.run(now + std::chrono::seconds(1)) != 0) {}
        timers.start(many[0], now + std::chrono::hours(1));
        many[0].stop();
    }
    const auto end = heap_calls();
    CHECK(ran == 10'000);
    CHECK(end - begin == 0);
}

TEST_CASE("callbacks on tcp")
{
    exposed world;
    meter count;
    transfer::async_read(
        world.lane(), world.local(64), world.key, repeated{&world.lane(), world.local(64), world.key, &count});
    world.run_until([&] { return count.ended == warm + counted; });
    count.check();
}

TEST_CASE("awaited on tcp")
{
    exposed world;
    meter count;
    boost::asio::co_spawn(
        world.near_context, await_reads(world.lane(), world.local(64), world.key, count), boost::asio::detached);
    world.run_until([&] { return count.ended == warm + counted; });
    count.check();
}
