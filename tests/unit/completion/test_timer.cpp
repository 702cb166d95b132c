#include "fake_queue.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

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
    CHECK(queue.next() <= at(1));
    CHECK(queue.next() > at(0));
    CHECK(queue.run(at(0)) == 0);
    CHECK(queue.run(at(2)) == 1);
    CHECK(queue.run(at(3)) == 2);
    CHECK(order == "bac");
    CHECK(queue.next() == time_point_never);
    CHECK(queue.run(at(9)) == 0);
}

TEST_CASE("no timer runs early, late, or twice, wherever it is in the wheel")
{
    // Against a plain list: random starts, moves and stops, near and far, while the time goes on in steps of all sizes.
    auto state = static_cast<std::uint64_t>(GENERATE(1, 2, 3, 4, 5, 6, 7, 8));
    const auto random = [&state](std::uint64_t below) {
        state = state * 6'364'136'223'846'793'005U + 1'442'695'040'888'963'407U;
        return (state >> 33U) % below;
    };
    const auto span = [&] { return duration(static_cast<std::int64_t>(random(1U << 20U) << random(31))); };
    timer_queue queue;
    std::vector<timer> timers(200);
    std::vector<time_point> due(timers.size(), time_point_never);
    time_point now{std::chrono::hours(random(20'000))};
    std::size_t wrong = 0;
    std::size_t ran = 0;
    for (std::size_t i = 0; i != timers.size(); ++i) {
        timers[i].set_action([&, i] {
            wrong += due[i] <= now && !timers[i].running() ? 0U : 1U;
            due[i] = time_point_never;
            ++ran;
        });
    }
    for (int step = 0; step != 20'000; ++step) {
        const auto i = static_cast<std::size_t>(random(timers.size()));
        if (random(3) == 0) {
            timers[i].stop();
            due[i] = time_point_never;
        } else {
            due[i] = random(20) == 0 ? now - std::min(span(), now.time_since_epoch()) : saturating_add(now, span());
            queue.start(timers[i], due[i]);
        }
        if (random(4) == 0) {
            const auto earliest = *std::min_element(due.begin(), due.end());
            const auto next = queue.next();
            wrong += next <= earliest ? 0U : 1U;
            wrong += earliest != time_point_never || queue.empty() ? 0U : 1U;
            // Either somewhere, or to where it says it has to be called.
            now = random(2) == 0 && next != time_point_never ? std::max(now, next) : now + span() / 64;
            while (queue.run(now) != 0) {}
            wrong += *std::min_element(due.begin(), due.end()) > now ? 0U : 1U;
        }
    }
    CHECK(wrong == 0);
    CHECK(ran > 1'000);
}

TEST_CASE("a timer for never is the last, and stops as any other")
{
    timer_queue queue;
    int ran = 0;
    timer never([&] { ++ran; });
    timer far([&] { ran += 10; });
    queue.start(never, time_point_never);
    queue.start(far, at(1'000'000'000));
    CHECK(queue.run(at(999'999'999)) == 0);
    CHECK(queue.run(at(1'000'000'000)) == 1);
    CHECK(ran == 10);
    CHECK(never.running());
    never.stop();
    CHECK(queue.next() == time_point_never);
    CHECK(queue.empty());
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
