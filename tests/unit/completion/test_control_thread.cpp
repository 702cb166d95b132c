#include "support/catch.hpp"

#include <penstock/completion/control_thread.hpp>

#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <atomic>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace penstock;
using namespace penstock::completion;

TEST_CASE("jobs run on another thread, one after the other, and are delivered in order on the executor")
{
    boost::asio::io_context context;
    control_thread control(context.get_executor());
    const auto here = std::this_thread::get_id();
    bool elsewhere = true;
    std::vector<int> ran;
    std::vector<int> delivered;
    for (int i = 0; i != 100; ++i) {
        REQUIRE_FALSE(control
                          .start(
                              [&, i] {
                                  elsewhere = elsewhere && std::this_thread::get_id() != here;
                                  ran.push_back(i);
                              },
                              [&, i] {
                                  CHECK(std::this_thread::get_id() == here);
                                  delivered.push_back(i);
                              })
                          .failed());
    }
    CHECK(delivered.empty());
    context.run(); // returns only once all are delivered
    CHECK(delivered.size() == 100);
    CHECK(delivered == ran);
    CHECK(elsewhere);
    CHECK(std::is_sorted(ran.begin(), ran.end()));
    CHECK(control.outstanding() == 0);
}

TEST_CASE("no more jobs than the limit; a refused one stays the caller's")
{
    struct counted final : control_job {
        explicit counted(int& count)
            : delivered(count)
        {}
        void run() noexcept override {}
        void deliver() override { ++delivered; }
        int& delivered;
    };
    boost::asio::io_context context;
    control_thread control(context.get_executor(), 2);
    int delivered = 0;
    for (int i = 0; i != 2; ++i) {
        std::unique_ptr<control_job> job = std::make_unique<counted>(delivered);
        CHECK_FALSE(control.start(job).failed());
        CHECK(job == nullptr);
    }
    std::unique_ptr<control_job> refused = std::make_unique<counted>(delivered);
    CHECK(control.start(refused) == errc::control_queue_full);
    CHECK(refused != nullptr);
    context.run();
    CHECK(delivered == 2);
    CHECK_FALSE(control.start(refused).failed());
    context.restart();
    context.run();
    CHECK(delivered == 3);
}

TEST_CASE("a delivery that throws leaves through run(), and the others are delivered by the next")
{
    boost::asio::io_context context;
    control_thread control(context.get_executor());
    int delivered = 0;
    REQUIRE_FALSE(control.start([] {}, [] { throw std::runtime_error("mine"); }).failed());
    REQUIRE_FALSE(control.start([] {}, [&delivered] { ++delivered; }).failed());
    CHECK_THROWS_AS(context.run(), std::runtime_error);
    context.run();
    CHECK(delivered == 1);
}

TEST_CASE("the end runs what was started, and delivers nothing any more")
{
    boost::asio::io_context context;
    std::atomic<int> ran{0};
    int delivered = 0;
    const auto kept = std::make_shared<int>(0);
    {
        control_thread control(context.get_executor());
        for (int i = 0; i != 10; ++i) {
            REQUIRE_FALSE(control.start([&ran, kept] { ++ran; }, [&delivered, kept] { ++delivered; }).failed());
        }
        control.finish();
        CHECK(control.start([] {}) == errc::control_queue_full);
    }
    CHECK(ran == 10);
    CHECK(kept.use_count() == 1);
    context.run();
    CHECK(delivered == 0);
}
