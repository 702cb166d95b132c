#include "fake_queue.hpp"
#include "support/catch.hpp"

#include <penstock/completion/asio_driver.hpp>
#include <penstock/completion/library_thread.hpp>
#include <penstock/connection/runtime.hpp>

#include <boost/asio/post.hpp>

#include <array>
#include <atomic>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace penstock;
using namespace penstock::test;
using namespace penstock::completion;

namespace {

struct counting {
    std::uint64_t* left;
    fake_queue* queue;
    poller* on;
    std::promise<void>* ended;

    void failed(const fabric::work_completion&) {}
    void complete(const fabric::work_completion&)
    {
        if (--*left == 0) {
            ended->set_value();
        } else {
            queue->put(on->start<counting>(*this).value() | last_request);
        }
    }
};

/// A poller on a thread of its own.
struct worker {
    library_thread thread;
    fake_queue queue;
    poller polled{system_clock_source(), {16, 4}};
    std::optional<asio_driver> driver;
    std::uint64_t left = 0;
    std::promise<void> ended;

    explicit worker(const poll_options& options)
    {
        thread.run([&] {
            polled.add(queue);
            driver.emplace(thread.executor(), polled, options);
        });
    }
    worker(const worker&) = delete;
    worker& operator=(const worker&) = delete;
    ~worker()
    {
        thread.run([&] { driver.reset(); });
    }

    void begin(std::uint64_t count)
    {
        boost::asio::post(thread.executor(), [this, count] {
            left = count;
            queue.put(polled.start<counting>(&left, &queue, &polled, &ended).value() | last_request);
        });
    }
};

class remembering_sink final : public log_sink {
public:
    void write(const log_record& record) noexcept override { last = std::string(record.message); }
    std::string last;
};

} // namespace

TEST_CASE("several pollers on several threads, each with its own queue")
{
    const auto options = GENERATE(poll_options{}, poll_options::busy(), poll_options::event());
    std::array<std::unique_ptr<worker>, 4> workers;
    for (auto& each : workers) {
        each = std::make_unique<worker>(options);
    }
    constexpr std::uint64_t operations = 2'000;
    for (auto& each : workers) {
        each->begin(operations);
    }
    for (auto& each : workers) {
        REQUIRE(each->ended.get_future().wait_for(std::chrono::seconds(20)) == std::future_status::ready);
        const auto counted = each->thread.run([&] { return each->polled.statistics(); });
        CHECK(counted.completions == operations);
        CHECK(each->thread.run([&] { return each->polled.outstanding(); }) == 0);
    }
}

TEST_CASE("work is handed to a sleeping thread from others at once")
{
    worker w(poll_options::event());
    std::atomic<int> ran{0};
    std::vector<std::thread> others;
    for (int i = 0; i != 4; ++i) {
        others.emplace_back([&] {
            for (int n = 0; n != 100; ++n) {
                boost::asio::post(w.thread.executor(), [&] {
                    ++ran;
                    w.polled.hold();
                    boost::asio::post(w.thread.executor(), [&] { w.polled.release_hold(); });
                });
            }
        });
    }
    for (auto& each : others) {
        each.join();
    }
    w.thread.run([] {}); // behind all of them
    CHECK(ran == 400);
}

TEST_CASE("run() gives the result, and what was thrown, to the caller")
{
    library_thread thread;
    CHECK(thread.run([&] { return thread.is_this_thread(); }));
    CHECK_FALSE(thread.is_this_thread());
    CHECK(thread.run([&] { return thread.run([] { return 7; }); }) == 7);
    CHECK_THROWS_AS(thread.run([] { throw std::runtime_error("a caller's"); }), std::runtime_error);
}

TEST_CASE("a handler that throws takes its operation down, and not the thread")
{
    std::string caught;
    remembering_sink sink;
    library_thread_options options;
    options.log = logger(sink);
    const bool own = GENERATE(true, false);
    if (own) {
        options.on_exception = [&](std::exception_ptr thrown) {
            try {
                std::rethrow_exception(thrown);
            } catch (const std::exception& error) {
                caught = error.what();
            }
        };
    }
    struct throwing {
        void failed(const fabric::work_completion&) {}
        void complete(const fabric::work_completion&) { throw std::runtime_error("a handler's"); }
    };
    library_thread thread(options);
    fake_queue queue;
    poller polled(system_clock_source(), {16, 4});
    std::optional<asio_driver> driver;
    std::uint64_t left = 1;
    std::promise<void> ended;
    thread.run([&] {
        polled.add(queue);
        driver.emplace(thread.executor(), polled, poll_options{});
        queue.put(polled.start<throwing>().value() | last_request);
        queue.put(polled.start<counting>(&left, &queue, &polled, &ended).value() | last_request);
    });
    REQUIRE(ended.get_future().wait_for(std::chrono::seconds(20)) == std::future_status::ready);
    thread.run([&] { driver.reset(); });
    CHECK((own ? caught : sink.last) == (own ? "a handler's" : "a handler threw: a handler's"));
}

TEST_CASE("what was posted before the destructor runs, what comes later is dropped")
{
    int ran = 0;
    const auto dropped = std::make_shared<int>(0);
    {
        library_thread thread;
        boost::asio::post(thread.executor(), [&] {
            ++ran;
            // Behind the destructor's own, or before it: either way the thread ends.
            boost::asio::post(thread.executor(), [dropped] {});
        });
    }
    CHECK(ran == 1);
    CHECK(dropped.use_count() == 1);
}

TEST_CASE("a runtime lives on a library_thread")
{
    library_thread thread;
    std::optional<runtime> rt;
    runtime_options options;
    options.transport = transport_choice::tcp;
    thread.run([&] { rt.emplace(thread.executor(), options); });
    std::promise<void> due;
    completion::timer timer([&] {
        rt->poller().release_hold();
        due.set_value();
    });
    thread.run([&] {
        rt->poller().hold();
        rt->poller().timers().start(timer, rt->time().now() + std::chrono::milliseconds(1));
    });
    CHECK(due.get_future().wait_for(std::chrono::seconds(20)) == std::future_status::ready);
    thread.run([&] { rt.reset(); });
}
