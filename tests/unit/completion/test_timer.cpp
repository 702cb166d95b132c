#include "fake_queue.hpp"
#include "support/catch.hpp"

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

using namespace penstock;
using namespace penstock::completion;

namespace {

time_point at(int seconds)
{
    return time_point(std::chrono::seconds(seconds));
}

} // namespace

TEST_CASE("timers run in the order of their times, equal ones in the order of starting")
{
    timer_queue queue;
    std::string order;
    timer a([&] { order += 'a'; });
    timer b([&] { order += 'b'; });
    timer c([&] { order += 'c'; });
    queue.start(a, at(3));
    queue.start(b, at(1));
    queue.start(c, at(3));
    CHECK(queue.next() == at(1));
    CHECK(queue.run(at(0)) == 0);
    CHECK(queue.run(at(2)) == 1);
    CHECK(queue.run(at(3)) == 2);
    CHECK(order == "bac");
    CHECK(queue.next() == time_point_never);
    CHECK(queue.run(at(9)) == 0);
}

TEST_CASE("a timer is moved, stopped and forgotten")
{
    timer_queue queue;
    int ran = 0;
    timer moved([&] { ++ran; });
    queue.start(moved, at(1));
    queue.start(moved, at(5));
    CHECK(queue.run(at(4)) == 0);
    moved.stop();
    CHECK_FALSE(moved.running());
    CHECK(queue.run(at(9)) == 0);
    {
        timer gone([&] { ++ran; });
        queue.start(gone, at(1));
    }
    CHECK(queue.run(at(9)) == 0);
    CHECK(ran == 0);
}

TEST_CASE("an action may destroy its own timer, and others")
{
    timer_queue queue;
    std::optional<timer> own;
    std::optional<timer> other;
    int ran = 0;
    const auto captured = std::make_shared<int>(7); // makes the closure too large for std::function's own room
    own.emplace([&, captured, text = std::string(40, 'x')] {
        own.reset();
        other.reset();
        ran += *captured + static_cast<int>(text.size());
    });
    other.emplace([&] { ran = -1; });
    queue.start(*own, at(1));
    queue.start(*other, at(1));
    CHECK(queue.run(at(1)) == 1);
    CHECK(ran == 47);
}

TEST_CASE("a timer that starts itself again holds nobody up")
{
    timer_queue queue;
    int ran = 0;
    timer again;
    again.set_action([&] {
        ++ran;
        queue.start(again, at(1));
    });
    queue.start(again, at(1));
    CHECK(queue.run(at(1)) == 64);
    CHECK(ran == 64);
    CHECK(again.running());
}

TEST_CASE("an action that throws leaves the other timers running")
{
    timer_queue queue;
    int ran = 0;
    timer bad([] { throw std::runtime_error("an action's"); });
    timer good([&] { ++ran; });
    queue.start(bad, at(1));
    queue.start(good, at(1));
    CHECK_THROWS_AS(queue.run(at(1)), std::runtime_error);
    CHECK(queue.run(at(1)) == 1);
    CHECK(ran == 1);
}

TEST_CASE("who sleeps is told of an earlier timer, and of no later one")
{
    int told = 0;
    timer_queue queue([](void* context, time_point) { ++*static_cast<int*>(context); }, &told);
    timer a([] {});
    timer b([] {});
    queue.start(a, at(5));
    CHECK(told == 0);
    queue.watch_before(at(5));
    queue.start(b, at(6));
    CHECK(told == 0);
    queue.start(b, at(4));
    CHECK(told == 1);
    queue.unwatch();
    queue.start(b, at(1));
    CHECK(told == 1);
}
