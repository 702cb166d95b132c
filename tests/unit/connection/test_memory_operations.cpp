#include "world.hpp"

#include <penstock/connection/memory_operations.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <array>
#include <future>
#include <stdexcept>
#include <thread>

using namespace penstock;
using namespace penstock::test;

namespace {

constexpr std::size_t slice = std::size_t{64} << 10U;

/// One runtime whose pool has four slices.
struct pool_world {
    boost::asio::io_context context;
    std::optional<runtime> owner;

    explicit pool_world(std::size_t acquires_max = 8)
    {
        auto options = small_runtime();
        options.pool.bytes_max = 4 * slice;
        options.acquires_max = acquires_max;
        owner.emplace(context.get_executor(), options);
    }

    void run()
    {
        context.restart();
        (void)context.run_for(std::chrono::seconds(10));
        REQUIRE(context.stopped());
    }
    /// What is ready now.
    void poll()
    {
        context.restart();
        (void)context.poll();
    }
    std::vector<memory::buffer> all()
    {
        std::vector<memory::buffer> held;
        while (auto next = owner->pool().acquire()) {
            held.push_back(std::move(*next));
        }
        return held;
    }
};

struct outcome {
    int calls = 0;
    error_code error{};
    memory::buffer given;

    auto handler()
    {
        return [this](error_code why, memory::buffer what) {
            ++calls;
            error = why;
            given = std::move(what);
        };
    }
};

} // namespace

TEST_CASE("a buffer that is there comes at once, but never inside the call")
{
    pool_world w;
    outcome one;
    async_acquire(*w.owner, 100, {}, one.handler());
    CHECK(one.calls == 0);
    w.run();
    CHECK(one.calls == 1);
    CHECK_FALSE(one.error.failed());
    CHECK(one.given.size() == 100);
}

TEST_CASE("whoever asked first is served first, even if a later one needs less")
{
    pool_world w;
    auto held = w.all();
    REQUIRE(held.size() == 4);
    std::vector<int> order;
    std::vector<memory::buffer> given;
    for (const int i : {0, 1, 2}) {
        async_acquire(*w.owner, i == 0 ? 2 * slice : slice, {}, [&, i](error_code error, memory::buffer what) {
            CHECK_FALSE(error.failed());
            order.push_back(i);
            given.push_back(std::move(what));
        });
    }
    w.poll();
    CHECK(order.empty());
    held.pop_back(); // one slice: enough for the second, who must wait for the first
    w.poll();
    CHECK(order.empty());
    held.clear();
    w.run();
    CHECK(order == std::vector{0, 1, 2});
    CHECK(w.owner->poller().outstanding() == 0);
}

TEST_CASE("memory given back on another thread wakes who waits, while the executor sleeps")
{
    pool_world w;
    auto held = w.all();
    std::array<outcome, 3> waiting;
    for (auto& each : waiting) {
        async_acquire(*w.owner, slice, {}, each.handler());
    }
    std::thread other([last = std::move(held)]() mutable { last.clear(); });
    w.run();
    other.join();
    for (const auto& each : waiting) {
        CHECK(each.calls == 1);
        CHECK(each.given.size() == slice);
    }
}

TEST_CASE("a deadline ends the waiting, and lets those behind go on")
{
    pool_world w;
    auto held = w.all();
    outcome large;
    outcome small;
    const auto deadline = w.owner->time().now() + std::chrono::milliseconds(20);
    async_acquire(*w.owner, 2 * slice, {deadline}, large.handler());
    async_acquire(*w.owner, slice, {}, small.handler());
    held.pop_back();
    w.run();
    CHECK(large.error == errc::timed_out);
    CHECK(small.given.size() == slice);
    outcome late;
    async_acquire(*w.owner, slice, {deadline}, late.handler());
    w.run();
    CHECK(late.error == errc::timed_out);
}

TEST_CASE("cancelled, it acquires nothing")
{
    pool_world w;
    auto held = w.all();
    outcome one;
    boost::asio::cancellation_signal signal;
    async_acquire(*w.owner, slice, {}, boost::asio::bind_cancellation_slot(signal.slot(), one.handler()));
    w.poll();
    signal.emit(boost::asio::cancellation_type::terminal);
    CHECK(one.calls == 0);
    w.run();
    CHECK(one.error == errc::cancelled);
    held.clear();
    signal.emit(boost::asio::cancellation_type::terminal); // nobody listens any more
    w.run();
    CHECK(one.calls == 1);
    CHECK(w.owner->pool().statistics().in_use == 0);
}

TEST_CASE("no more wait than the limit, and nobody waits for what can never be")
{
    pool_world w(2);
    auto held = w.all();
    std::array<outcome, 3> waiting;
    for (auto& each : waiting) {
        async_acquire(*w.owner, slice, {}, each.handler());
    }
    w.poll();
    CHECK(waiting[2].error == errc::pool_exhausted);
    held.clear();
    w.run();
    CHECK(waiting[1].given);
    outcome never;
    async_acquire(*w.owner, 5 * slice, {}, never.handler());
    w.run();
    CHECK(never.error == errc::pool_exhausted);
}

TEST_CASE("a handler that throws strands nobody behind it")
{
    pool_world w;
    auto held = w.all();
    outcome second;
    async_acquire(*w.owner, slice, {}, [](error_code, const memory::buffer&) { throw std::runtime_error("mine"); });
    async_acquire(*w.owner, slice, {}, second.handler());
    held.clear();
    w.context.restart();
    CHECK_THROWS_AS(w.context.run_for(std::chrono::seconds(10)), std::runtime_error);
    w.run();
    CHECK(second.given);
}

TEST_CASE("who still waits when the runtime ends is dropped")
{
    pool_world w;
    auto held = w.all();
    const auto witness = std::make_shared<int>(0);
    async_acquire(*w.owner, slice, {}, [witness](error_code, const memory::buffer&) {});
    held.clear(); // served, had it run
    w.owner.reset();
    CHECK(witness.use_count() == 1);
    w.run();
}

TEST_CASE("the application's memory is registered while the executor does other work, and ends with its handle")
{
    pool_world w;
    std::vector<std::byte> memory(3 * slice);
    bool ended = false;
    boost::asio::co_spawn(
        w.context,
        [&]() -> boost::asio::awaitable<void> {
            memory::registration_options options;
            options.region_bytes_max = slice;
            auto held = co_await async_register(*w.owner, memory, options, boost::asio::use_awaitable);
            CHECK(held.region_count() >= 3);
            CHECK(w.owner->registrations().statistics().bytes_registered == memory.size());
            {
                const auto moved = std::move(held);
            }
            // Behind the destructor's work: the control thread is one.
            auto more = co_await async_register(*w.owner, memory, {}, boost::asio::use_awaitable);
            CHECK(w.owner->registrations().statistics().bytes_registered == memory.size());
            co_await async_deregister(*w.owner, std::move(more), boost::asio::use_awaitable);
            CHECK(w.owner->registrations().statistics().bytes_registered == 0);
            ended = true;
        },
        boost::asio::detached);
    w.run();
    CHECK(ended);
}

TEST_CASE("a registration that fails says why; one that has not begun can be cancelled")
{
    boost::asio::io_context context;
    auto options = small_runtime();
    options.application_bytes_max = 100;
    runtime owner(context.get_executor(), options);
    std::vector<std::byte> memory(101);
    std::vector<error_code> errors;
    async_register(owner, memory, {}, [&](error_code error, const memory::registration& none) {
        errors.push_back(error);
        CHECK(none.refusal().find("application_bytes_max") != std::string::npos);
    });
    boost::asio::cancellation_signal signal;
    std::promise<void> go;
    REQUIRE_FALSE(owner.control().start([until = go.get_future().share()] { until.wait(); }).failed());
    async_register(owner, std::span(memory).first(1), {},
        boost::asio::bind_cancellation_slot(
            signal.slot(), [&](error_code error, const memory::registration&) { errors.push_back(error); }));
    CHECK(errors.empty());
    signal.emit(boost::asio::cancellation_type::terminal);
    go.set_value();
    context.run();
    REQUIRE(errors.size() == 2);
    CHECK(errors[0] == errc::registration_budget);
    CHECK(errors[1] == errc::cancelled);
}

TEST_CASE("a runtime ends with a registration that nobody heard of")
{
    pool_world w;
    std::vector<std::byte> memory(slice);
    async_register(*w.owner, memory, {}, [](error_code, const memory::registration&) { FAIL("delivered"); });
    w.owner.reset();
    w.run();
}
