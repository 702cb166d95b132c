// Every way in which Asio lets a program wait for an operation.

#include "exposed.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/bind_allocator.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <array>
#include <future>
#include <thread>

using namespace penstock;
using namespace penstock::test;
using namespace penstock::transfer;
using boost::asio::as_tuple;
using boost::asio::awaitable;
using boost::asio::bind_executor;
using boost::asio::deferred;
using boost::asio::use_awaitable;
using boost::asio::use_future;

namespace {

/// Runs a coroutine on the near executor until it has ended well.
void run_coroutine(exposed& w, std::function<awaitable<void>()> body)
{
    bool ended = false;
    boost::asio::co_spawn(w.near_context, std::move(body), [&](std::exception_ptr failed) {
        CHECK_FALSE(failed);
        ended = true;
    });
    w.run_until([&] { return ended; });
}

} // namespace

TEST_CASE("a callback that owns what it is called with")
{
    exposed w;
    bool ended = false;
    async_write(w.lane(), w.local(8), w.key, [&, only = std::make_unique<int>(1)](error_code error) {
        CHECK_FALSE(error.failed());
        ended = *only == 1;
    });
    CHECK_FALSE(ended);
    w.run_until([&] { return ended; });
    w.check_baseline();
}

TEST_CASE("use_future, with a value and with an error")
{
    exposed w;
    auto done = async_fetch_add(w.lane(), w.key, 1, use_future);
    w.run_until([&] { return done.wait_for(std::chrono::seconds(0)) == std::future_status::ready; });
    CHECK(done.get() == 0x0101'0101'0101'0101);
    w.check_baseline();
    w.lane().fail(errc::lane_error);
    auto failed = async_read(w.lane(), w.local(8), w.key, use_future);
    w.run_until([&] { return failed.wait_for(std::chrono::seconds(0)) == std::future_status::ready; });
    CHECK_THROWS_AS(failed.get(), system_error);
}

TEST_CASE("use_awaitable, as_tuple, and what they do with an error")
{
    exposed w;
    run_coroutine(w, [&]() -> awaitable<void> {
        co_await async_write(w.lane(), w.local(8), w.key, use_awaitable);
        const auto [error, old] = co_await async_fetch_add(w.lane(), w.key, 1, as_tuple(use_awaitable));
        CHECK_FALSE(error.failed());
        CHECK(old == 0x0202'0202'0202'0202);
        w.lane().fail(errc::lane_error);
        const auto [refused] = co_await async_read(w.lane(), w.local(8), w.key, as_tuple(use_awaitable));
        CHECK(refused == errc::lane_error);
        bool thrown = false;
        try {
            co_await async_read(w.lane(), w.local(8), w.key, use_awaitable);
        } catch (const system_error& caught) {
            thrown = caught.code() == errc::lane_error;
        }
        CHECK(thrown);
    });
    CHECK(w.near->landing().in_use() == 0);
}

TEST_CASE("deferred starts nothing before it is called")
{
    exposed w;
    auto packed = async_write(w.lane(), w.local(8), w.key, deferred);
    CHECK(w.near->poller().outstanding() == 0);
    int calls = 0;
    std::move(packed)([&](error_code error) {
        CHECK_FALSE(error.failed());
        ++calls;
    });
    CHECK(calls == 0);
    w.run_until([&] { return calls != 0; });
    run_coroutine(w, [&]() -> awaitable<void> {
        const auto old = co_await async_compare_swap(w.lane(), w.key, 0, 0, deferred);
        CHECK(old == 0x0202'0202'0202'0202);
    });
    w.check_baseline();
}

TEST_CASE("two operations awaited together")
{
    exposed w;
    run_coroutine(w, [&]() -> awaitable<void> {
        using namespace boost::asio::experimental::awaitable_operators;
        const auto old = co_await (async_write(w.lane(), w.local(8), w.key, use_awaitable)
            && async_fetch_add(w.lane(), w.key, 1, use_awaitable));
        CHECK(old == 0x0202'0202'0202'0202);
    });
    w.check_baseline();
}

TEST_CASE("the first of two: the other one is cancelled, and awaited all the same")
{
    exposed w;
    run_coroutine(w, [&]() -> awaitable<void> {
        using namespace boost::asio::experimental::awaitable_operators;
        const auto first = co_await (async_write(w.lane(), w.local(8), w.key, use_awaitable)
            || async_fetch_add(w.lane(), w.key, 1, use_awaitable));
        CHECK(first.index() == 0); // in the order posted
        CHECK(w.near->poller().outstanding() == 0);
    });
    CHECK_FALSE(w.lane().failed());
    w.check_baseline();
}

TEST_CASE("a handler bound to a strand runs in it")
{
    exposed w;
    auto strand = boost::asio::make_strand(w.near_context);
    bool inside = false;
    async_write(w.lane(), w.local(8), w.key,
        bind_executor(strand, [&](error_code) { inside = strand.running_in_this_thread(); }));
    CHECK_FALSE(inside);
    w.run_until([&] { return inside; });
    w.check_baseline();
}

TEST_CASE("a handler bound to another io_context runs there, and keeps it from running out of work")
{
    exposed w;
    boost::asio::io_context other;
    std::promise<std::thread::id> called;
    async_write(w.lane(), w.local(8), w.key, bind_executor(other, [&](error_code error) {
        CHECK_FALSE(error.failed());
        called.set_value(std::this_thread::get_id());
    }));
    auto told = called.get_future();
    std::thread runner([&] { other.run(); }); // ends after the handler, and not before
    const auto its_id = runner.get_id();
    w.run_until([&] { return told.wait_for(std::chrono::seconds(0)) == std::future_status::ready; });
    runner.join();
    CHECK(told.get() == its_id);
    w.check_baseline();
}

TEST_CASE("an error found while initiating reaches a handler bound elsewhere, outside the call")
{
    exposed w;
    w.lane().fail(errc::lane_error);
    boost::asio::io_context other;
    error_code told;
    async_read(w.lane(), w.local(8), w.key, bind_executor(other, [&](error_code error) { told = error; }));
    CHECK_FALSE(told.failed());
    w.run_until([&] {
        (void)other.poll();
        return told.failed();
    });
    CHECK(told == errc::lane_error);
}

namespace {

struct counts {
    int allocated = 0;
    int released = 0;
};

template <class T>
struct counting_allocator {
    using value_type = T;
    counts* into;
    explicit counting_allocator(counts* where)
        : into(where)
    {}
    template <class U>
    counting_allocator(const counting_allocator<U>& other)
        : into(other.into)
    {}
    T* allocate(std::size_t count)
    {
        ++into->allocated;
        return std::allocator<T>().allocate(count);
    }
    void deallocate(T* what, std::size_t count)
    {
        ++into->released;
        std::allocator<T>().deallocate(what, count);
    }
    friend bool operator==(const counting_allocator&, const counting_allocator&) = default;
};

} // namespace

TEST_CASE("a small handler costs no allocation, a large one a single one of its own allocator")
{
    exposed w;
    counts counted;
    const counting_allocator<void*> allocator(&counted);
    int calls = 0;
    async_write(w.lane(), w.local(8), w.key, boost::asio::bind_allocator(allocator, [&](error_code) { ++calls; }));
    w.run_until([&] { return calls == 1; });
    CHECK(counted.allocated == 0);

    const std::array<std::byte, 512> large{};
    async_write(w.lane(), w.local(8), w.key, boost::asio::bind_allocator(allocator, [&, large](error_code error) {
        CHECK_FALSE(error.failed());
        calls += large.front() == std::byte{0} ? 1 : 0;
    }));
    CHECK(calls == 1);
    w.run_until([&] { return calls == 2; });
    CHECK(counted.allocated == 1);
    CHECK(counted.released == 1);
    w.check_baseline();
}

TEST_CASE("a handler that throws leaves through run(), and the lane goes on")
{
    exposed w;
    async_write(w.lane(), w.local(8), w.key, [](error_code) { throw std::runtime_error("thrown"); });
    int calls = 0;
    async_write(w.lane(), w.local(8), w.key, [&](error_code) { ++calls; });
    bool thrown = false;
    w.run_until([&] {
        try {
            exposed::turn(w.near_context);
        } catch (const std::runtime_error&) {
            thrown = true;
        }
        return thrown;
    });
    w.run_until([&] { return calls == 1; });
    w.check_baseline();
}
