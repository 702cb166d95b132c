#include "exposed.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <algorithm>
#include <array>
#include <future>

using namespace penstock;
using namespace penstock::test;
using namespace penstock::transfer;

TEST_CASE("a write through a window, with a callback")
{
    exposed w;
    bool ended = false;
    error_code told;
    async_write(w.lane(), w.local(exposed::length), w.key, [&](error_code error) {
        ended = true;
        told = error;
    });
    CHECK_FALSE(ended);
    w.run_until([&] { return ended; });
    CHECK_FALSE(told.failed());
    CHECK(w.target.bytes()[exposed::length - 1] == std::byte{2});
    CHECK(w.target.bytes()[exposed::length] == std::byte{1});
    w.check_baseline();
}

TEST_CASE("write and read, awaited")
{
    exposed w;
    bool ended = false;
    boost::asio::co_spawn(
        w.near_context,
        [&]() -> boost::asio::awaitable<void> {
            co_await async_write(w.lane(), w.local(100), w.key, boost::asio::use_awaitable);
            std::fill(w.source.bytes().begin(), w.source.bytes().end(), std::byte{9});
            co_await async_read(w.lane(), w.local(200), w.key, boost::asio::use_awaitable);
            ended = true;
        },
        [](std::exception_ptr failed) { CHECK_FALSE(failed); });
    w.run_until([&] { return ended; });
    CHECK(w.source.bytes()[99] == std::byte{2});
    CHECK(w.source.bytes()[100] == std::byte{1});
    CHECK(w.source.bytes()[200] == std::byte{9});
}

TEST_CASE("a read with a future")
{
    exposed w;
    auto done = async_read(w.lane(), w.local(64), w.key, boost::asio::use_future);
    w.run_until([&] { return done.wait_for(std::chrono::seconds(0)) == std::future_status::ready; });
    CHECK_NOTHROW(done.get());
    CHECK(w.source.bytes().front() == std::byte{1});
}

TEST_CASE("beyond the window a write fails, and costs the lane on both sides")
{
    exposed w;
    error_code told;
    int down = 0;
    w.there->on_down([&](error_code) { ++down; });
    w.here->on_down([&](error_code) { ++down; });
    auto beyond = w.key;
    if (!w.lane().device().device->supports().has(fabric::capability::window_range_enforced)) {
        beyond.rkey ^= 0x5a00; // then only a wrong key is refused
    }
    async_write(w.lane(), w.local(exposed::length + 1), beyond, [&](error_code error) { told = error; });
    w.run_until([&] { return told.failed() && down == 2; });
    CHECK(told == completion_status::remote_access_error);
    CHECK(w.target.bytes()[exposed::length] == std::byte{1});

    bool ended = false;
    async_write(w.lane(), w.local(1), w.key, [&](error_code error) {
        ended = true;
        CHECK(error == errc::lane_error);
    });
    CHECK_FALSE(ended);
    w.run_until([&] { return ended; });
}

TEST_CASE("a chain ends once, with its first failure")
{
    exposed w;
    const std::array piece{w.local(8)};
    std::array<fabric::send_request, 3> chain{};
    for (auto& each : chain) {
        each.operation = fabric::opcode::write;
        each.local = piece;
        each.remote = w.key;
    }
    chain[1].remote.rkey ^= 0x5a00;
    int calls = 0;
    error_code told;
    auto callback = [&](error_code error) {
        ++calls;
        told = error;
    };
    REQUIRE_FALSE(submit(w.lane(), chain, callback).failed());
    w.run_until([&] { return calls != 0; });
    CHECK(told == completion_status::remote_access_error);
    w.run_until([&] { return w.near->poller().outstanding() == 0; });
    CHECK(calls == 1);
}

TEST_CASE("what cannot be posted leaves the callback and the lane as they were")
{
    exposed w;
    const auto room = w.lane().send_room();
    const auto held = std::make_shared<int>(1);
    auto callback = [held](error_code) { FAIL("called"); };
    CHECK(submit(w.lane(), {}, callback) == errc::invalid_argument);
    std::vector<fabric::send_request> many(room + 1);
    CHECK(submit(w.lane(), many, callback) == errc::send_queue_full);
    CHECK(held.use_count() == 2);
    CHECK(w.lane().send_room() == room);
    CHECK(w.near->poller().outstanding() == 0);
}

TEST_CASE("what is in flight when a connection closes ends flushed, before the fence")
{
    exposed w;
    std::vector<char> order;
    for (int i = 0; i != 4; ++i) {
        async_read(w.lane(), w.local(exposed::length), w.key, [&](error_code error) {
            CHECK((!error.failed() || error == completion_status::flushed));
            order.push_back('r');
        });
    }
    w.here->close([&] { order.push_back('f'); });
    CHECK(order.empty());
    w.run_until([&] { return order.size() == 5; });
    CHECK(order.back() == 'f');
}

TEST_CASE("a runtime that ends with work in flight takes its handlers along")
{
    exposed w;
    const auto held = std::make_shared<int>(1);
    async_read(w.lane(), w.local(exposed::length), w.key, [held](error_code) {});
    w.here.reset();
    w.source = {};
    w.near.reset();
    CHECK(held.use_count() == 1);
}
