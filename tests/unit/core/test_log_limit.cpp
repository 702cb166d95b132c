#include <penstock/core/log_limit.hpp>

#include "support/catch.hpp"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

using namespace penstock;
using namespace std::chrono_literals;

namespace {

class hand_clock final : public clock {
public:
    time_point now() noexcept override { return now_; }
    void advance(duration span) { now_ += span; }

private:
    time_point now_{};
};

class collecting_sink final : public log_sink {
public:
    void write(const log_record& record) noexcept override { lines.push_back(to_string(record)); }

    std::vector<std::string> lines;
};

struct world {
    hand_clock time;
    collecting_sink sink;
    limited_log_sink limited{sink, time, {3, 10s}};
    logger log{limited, log_level::info, "connection"};
};

} // namespace

TEST_CASE("of records alike the first few of an interval pass, and the rest are counted", "[log]")
{
    world w;
    for (int i = 0; i != 10; ++i)
        w.log.warning("refused", {"peer-" + std::to_string(i), -1, 0, 0});
    CHECK(w.sink.lines
        == std::vector<std::string>{"refused (peer peer-0)", "refused (peer peer-1)", "refused (peer peer-2)"});
    w.sink.lines.clear();

    w.time.advance(10s - 1ns);
    w.log.warning("refused");
    CHECK(w.sink.lines.empty());
    w.time.advance(1ns);
    w.log.warning("refused");
    CHECK(w.sink.lines == std::vector<std::string>{"8 more like the next one were left out", "refused"});
    w.sink.lines.clear();

    w.time.advance(10s);
    w.log.warning("refused");
    CHECK(w.sink.lines == std::vector<std::string>{"refused"}); // none was left out in between
}

TEST_CASE("other messages, components and levels are not held back by it", "[log]")
{
    world w;
    for (int i = 0; i != 10; ++i)
        w.log.warning("refused");
    w.sink.lines.clear();
    w.log.warning("lost");
    w.log.error("refused");
    w.log.for_component("storage").warning("refused");
    CHECK(w.sink.lines == std::vector<std::string>{"lost", "refused", "refused"});
}

TEST_CASE("a burst of nothing is no limit", "[log]")
{
    hand_clock time;
    collecting_sink sink;
    limited_log_sink limited(sink, time, {0, 10s});
    for (int i = 0; i != 100; ++i)
        limited.write({log_level::info, "x", "y", {}});
    CHECK(sink.lines.size() == 100);
}

TEST_CASE("thousands of kinds of records pass, and cost no more memory", "[log]")
{
    world w;
    for (int i = 0; i != 5'000; ++i)
        w.log.info("kind " + std::to_string(i));
    CHECK(w.sink.lines.size() == 5'000);
}

TEST_CASE("several threads log alike at once", "[log]")
{
    class counting_sink final : public log_sink {
    public:
        void write(const log_record&) noexcept override { ++lines; }
        std::atomic<int> lines = 0;
    };
    hand_clock time;
    counting_sink sink;
    limited_log_sink limited(sink, time, {3, 10s});
    std::vector<std::thread> threads;
    for (int t = 0; t != 4; ++t)
        threads.emplace_back([&] {
            for (int i = 0; i != 1'000; ++i)
                limited.write({log_level::info, "x", "y", {}});
        });
    for (auto& thread : threads)
        thread.join();
    CHECK(sink.lines == 3);
}
