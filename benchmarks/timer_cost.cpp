// timer_cost RUNNING COUNT
//
// With RUNNING timers of 30 s going, COUNT times: start one with 1 s, and stop it again; as deadlines of operations do that end
// in time. Every 64 of them the clock advances by 1 ms and what is due runs. For callgrind: see docs/benchmarks.md.

#include <penstock/completion/timer.hpp>

#include <cstdio>
#include <cstdlib>
#include <deque>

using namespace penstock;
using namespace penstock::completion;

int main(int count, char** values)
{
    if (count != 3) {
        std::fputs("usage: timer_cost RUNNING COUNT\n", stderr);
        return 2;
    }
    const auto running = std::strtoull(values[1], nullptr, 10);
    const auto starts = std::strtoull(values[2], nullptr, 10);
    timer_queue queue;
    time_point now{std::chrono::hours(1)};
    std::deque<timer> others;
    std::uint64_t ran = 0;
    for (std::uint64_t i = 0; i != running; ++i) {
        queue.start(
            others.emplace_back([&ran] { ++ran; }), now + std::chrono::seconds(30) + std::chrono::microseconds(i));
    }
    timer each([&ran] { ++ran; });
    for (std::uint64_t i = 0; i != starts; ++i) {
        queue.start(each, now + std::chrono::seconds(1));
        each.stop();
        if (i % 64 == 0) {
            now += std::chrono::milliseconds(1);
            (void)queue.run(now);
        }
    }
    return ran == 0 ? 0 : 1;
}
