// In which order things are destroyed: every pair of this layer is either safe or refused, with a message.

#include "dies.hpp"
#include "fake_queue.hpp"

#include <penstock/completion/asio_driver.hpp>
#include <penstock/completion/library_thread.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <memory>
#include <optional>

using namespace penstock;
using namespace penstock::test;
using namespace penstock::completion;

namespace {

struct destroyer {
    std::function<void()> what;
    void failed(const fabric::work_completion&) {}
    void complete(const fabric::work_completion&) { what(); }
};

struct world {
    manual_clock time;
    std::optional<fake_queue> queue{std::in_place};
    std::optional<boost::asio::io_context> context{std::in_place};
    std::optional<poller> polled{std::in_place, time, poller_options{4, 1}};
    std::optional<asio_driver> driver;

    world()
    {
        polled->add(*queue);
        driver.emplace(context->get_executor(), *polled, poll_options{});
    }

    void deliver(std::function<void()> what)
    {
        queue->put(polled->start<destroyer>(std::move(what)).value() | last_request);
    }
};

bool has(const std::string& said, const char* rule)
{
    INFO(said);
    return said.find(rule) != std::string::npos;
}

} // namespace

TEST_CASE("a poller before its driver is refused")
{
    world w;
    CHECK(has(last_words([&] { w.polled.reset(); }), "destroy the driver before its poller"));
}

TEST_CASE("a second driver is refused")
{
    world w;
    CHECK(has(last_words([&] { asio_driver(w.context->get_executor(), *w.polled, poll_options{}); }),
        "a poller has one driver"));
    w.driver.reset();
    w.driver.emplace(w.context->get_executor(), *w.polled, poll_options{});
}

TEST_CASE("a poller destroyed by a handler that it calls is refused")
{
    world w;
    w.driver.reset();
    w.deliver([&] { w.polled.reset(); });
    CHECK(has(last_words([&] { (void)w.polled->poll(); }), "post that to the executor"));
}

TEST_CASE("a driver destroyed by a handler that its poller calls is safe")
{
    world w;
    bool second = false;
    w.deliver([&] { w.driver.reset(); });
    w.deliver([&] { second = true; });
    w.context->run();
    CHECK_FALSE(w.driver);
    CHECK(second); // of the same batch
    w.polled->hold();
    w.context->restart();
    CHECK(w.context->run() == 0);
}

TEST_CASE("an executor's context before a driver is refused")
{
    world w;
    CHECK(has(last_words([&] { w.context.reset(); }), "before its executor's context"));
}

TEST_CASE("a driver that a handler of the context owns goes with it")
{
    world w;
    w.driver.reset();
    w.polled->hold();
    auto owned = std::make_unique<asio_driver>(w.context->get_executor(), *w.polled, poll_options{});
    boost::asio::post(*w.context, [kept = std::move(owned)] {});
    w.context.reset();
    w.driver.emplace(w.context.emplace().get_executor(), *w.polled, poll_options{});
    w.polled->release_hold();
}

TEST_CASE("a completion queue before or after its poller is safe; removed, it is not looked at any more")
{
    world w;
    w.driver.reset();
    SECTION("before")
    {
        w.queue.reset();
    }
    SECTION("after")
    {
        w.polled.reset();
        w.queue.reset();
    }
    SECTION("removed, and the poller goes on")
    {
        w.polled->remove(*w.queue);
        w.queue.reset();
        CHECK(w.polled->poll() == 0);
    }
}

TEST_CASE("a timer before or after its queue is safe")
{
    std::optional<timer> first(std::in_place, [] {});
    std::optional<timer_queue> queue(std::in_place);
    queue->start(*first, time_point(std::chrono::seconds(1)));
    SECTION("the timer first")
    {
        first.reset();
        CHECK(queue->run(time_point(std::chrono::seconds(2))) == 0);
    }
    SECTION("the queue first")
    {
        queue.reset();
        CHECK_FALSE(first->running());
        first->stop();
    }
}

TEST_CASE("an operation in flight goes with its poller, and may release others while it does")
{
    world w;
    w.driver.reset();
    operation_id other{};
    const auto releases = [&other, polled = &*w.polled](void*) { polled->release(other); };
    w.deliver([kept = std::shared_ptr<void>(&w, releases)] {});
    other = w.polled->start<destroyer>([] {}).value();
    w.polled.reset();
}

TEST_CASE("a library_thread before a driver on it, or by itself, is refused")
{
    // In the child: a fork takes no threads along.
    CHECK(has(last_words([] {
        manual_clock time;
        poller polled(time, {4, 1});
        std::optional<library_thread> thread(std::in_place);
        std::optional<asio_driver> driver;
        thread->run([&] { driver.emplace(thread->executor(), polled, poll_options{}); });
        thread.reset();
    }),
        "before its library_thread"));
    CHECK(has(last_words([] {
        std::optional<library_thread> thread(std::in_place);
        thread->run([&] { thread.reset(); });
    }),
        "not destroyed by itself"));
}
