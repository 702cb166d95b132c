#include "fake_queue.hpp"
#include "support/catch.hpp"

#include <penstock/completion/asio_driver.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <functional>
#include <optional>
#include <stdexcept>

using namespace penstock;
using namespace penstock::test;
using namespace penstock::completion;

namespace {

struct world {
    boost::asio::io_context context;
    fake_queue queue;
    poller polled{system_clock_source(), {16, 4}};
    std::optional<asio_driver> driver;

    explicit world(std::chrono::microseconds spin)
    {
        polled.add(queue);
        driver.emplace(context.get_executor(), polled, poll_options{spin, 8});
    }

    void run_until(const std::function<bool()>& reached)
    {
        const auto limit = system_clock_source().now() + std::chrono::seconds(10);
        while (!reached()) {
            if (system_clock_source().now() > limit) {
                FAIL("not within ten seconds");
            }
            if (context.stopped()) {
                context.restart();
            }
            (void)context.run_one_for(std::chrono::milliseconds(100));
        }
    }

    /// Ends when nothing keeps the executor busy.
    void run()
    {
        context.restart();
        (void)context.run_for(std::chrono::seconds(10));
        REQUIRE(context.stopped());
    }

    void sleep()
    {
        const auto before = driver->statistics().sleeps;
        run_until([&] { return driver->statistics().sleeps != before; });
    }
};

} // namespace

TEST_CASE("with nothing outstanding the executor's run() returns")
{
    world w{std::chrono::microseconds(0)};
    w.run();
    CHECK(w.driver->statistics().posts == 0);
    recorded seen;
    const auto id = w.polled.start<recording>(&seen).value();
    w.queue.put(id | last_request);
    w.run();
    CHECK(seen.completions == 1);
}

TEST_CASE("a completion wakes a driver that sleeps")
{
    world w{std::chrono::microseconds(0)};
    recorded seen;
    const auto id = w.polled.start<recording>(&seen).value();
    w.sleep();
    boost::asio::post(w.context, [&] { w.queue.put(id | last_request); });
    w.run();
    CHECK(seen.completions == 1);
}

TEST_CASE("a timer started while the driver sleeps runs at its time")
{
    world w{std::chrono::microseconds(0)};
    w.polled.hold();
    timer far([] {});
    w.polled.timers().start(far, system_clock_source().now() + std::chrono::hours(1));
    w.sleep();
    bool ran = false;
    timer near([&] {
        ran = true;
        w.polled.release_hold();
    });
    w.polled.timers().start(near, system_clock_source().now());
    w.run();
    CHECK(ran);
}

TEST_CASE("the last hold, released while the driver sleeps, lets run() return")
{
    world w{std::chrono::microseconds(0)};
    w.polled.hold();
    w.sleep();
    boost::asio::post(w.context, [&] { w.polled.release_hold(); });
    w.run();
    CHECK(w.polled.outstanding() == 0);
    recorded seen;
    const auto id = w.polled.start<recording>(&seen).value();
    w.queue.put(id | last_request);
    w.run();
    CHECK(seen.completions == 1);
}

TEST_CASE("other handlers get their turn while the driver spins")
{
    world w{std::chrono::hours(1)};
    w.polled.hold();
    bool ran = false;
    boost::asio::post(w.context, [&] { ran = true; });
    w.run_until([&] { return ran; });
    CHECK(w.driver->statistics().sleeps == 0);
    w.polled.release_hold();
    w.run();
}

TEST_CASE("a handler that throws leaves through run(), and the next run() goes on")
{
    const auto spin = GENERATE(std::chrono::microseconds(0), std::chrono::microseconds(100'000'000));
    world w{spin};
    recorded first;
    recorded second;
    const auto a = w.polled.start<recording>(&first, [] { throw std::runtime_error("a handler's"); }).value();
    const auto b = w.polled.start<recording>(&second).value();
    w.queue.put(a | last_request);
    w.queue.put(b | last_request);
    CHECK_THROWS_AS(w.context.run_for(std::chrono::seconds(10)), std::runtime_error);
    w.run();
    CHECK(second.completions == 1);
}

TEST_CASE("busy never sleeps, event does after one idle turn, and both count their turns")
{
    world w{std::chrono::microseconds(0)};
    w.driver.reset();
    w.polled.hold();
    SECTION("busy")
    {
        w.driver.emplace(w.context.get_executor(), w.polled, poll_options::busy());
        w.run_until([&] { return w.driver->statistics().spins >= 1'000; });
        CHECK(w.driver->statistics().sleeps == 0);
        CHECK(w.driver->statistics().posts >= 1'000 / poll_options{}.turns_per_post);
    }
    SECTION("event")
    {
        w.driver.emplace(w.context.get_executor(), w.polled, poll_options::event());
        w.sleep();
        CHECK(w.driver->statistics().spins == 1);
        CHECK(w.driver->statistics().posts == 1);
    }
    w.polled.release_hold();
    w.run();
}

TEST_CASE("poll options out of range are refused")
{
    world w{std::chrono::microseconds(0)};
    w.driver.reset();
    CHECK_THROWS_AS(asio_driver(w.context.get_executor(), w.polled, {std::chrono::microseconds(0), 0}), system_error);
    CHECK_THROWS_AS(
        asio_driver(w.context.get_executor(), w.polled, {std::chrono::microseconds(0), 1, 0}), system_error);
    w.driver.emplace(w.context.get_executor(), w.polled, poll_options{});
    w.run();
}

TEST_CASE("a driver destroyed while it sleeps, or is due, leaves nothing in the executor")
{
    world w{std::chrono::microseconds(0)};
    w.polled.hold();
    SECTION("sleeping")
    {
        w.sleep();
    }
    SECTION("due") {}
    w.driver.reset();
    w.run();
    CHECK(w.polled.outstanding() == 1);
    w.polled.release_hold();
}
