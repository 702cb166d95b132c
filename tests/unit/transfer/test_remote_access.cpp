#include "exposed.hpp"

#include <penstock/transfer/exposure_ledger.hpp>
#include <penstock/transfer/remote_access.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <vector>

using namespace penstock;
using namespace penstock::test;
using namespace penstock::transfer;
using boost::asio::bind_cancellation_slot;
using boost::asio::cancellation_signal;
using boost::asio::cancellation_type;

namespace {

struct told_errors {
    std::vector<error_code> all;
    auto handler()
    {
        return [this](error_code error) { all.push_back(error); };
    }
    std::size_t failed() const
    {
        return static_cast<std::size_t>(
            std::count_if(all.begin(), all.end(), [](const error_code& each) { return each.failed(); }));
    }
};

constexpr auto everything = fabric::access::remote_read | fabric::access::remote_write | fabric::access::remote_atomic;

} // namespace

TEST_CASE("a write and a read over the connection")
{
    exposed w;
    told_errors told;
    async_write(*w.here, w.source.slice(0, 100), w.remote(50, 100), told.handler());
    CHECK(told.all.empty());
    w.run_until([&] { return told.all.size() == 1; });
    CHECK(told.failed() == 0);
    CHECK(w.target.bytes()[49] == std::byte{1});
    CHECK(w.target.bytes()[50] == std::byte{2});
    CHECK(w.target.bytes()[149] == std::byte{2});
    CHECK(w.target.bytes()[150] == std::byte{1});
    async_read(*w.here, w.source.slice(0, 100), w.remote(0, exposed::length), told.handler());
    CHECK(told.all.size() == 1);
    w.run_until([&] { return told.all.size() == 2; });
    CHECK(told.failed() == 0);
    CHECK(w.source.bytes()[49] == std::byte{1});
    CHECK(w.source.bytes()[50] == std::byte{2});
    w.check_baseline();
}

TEST_CASE("atomics and writes with immediate data over the connection, awaited")
{
    exposed w;
    std::uint32_t immediate = 0;
    bool ended = false;
    w.there->data().on_immediate([&](std::uint32_t data, std::uint32_t) { immediate = data; });
    boost::asio::co_spawn(
        w.near_context,
        [&]() -> boost::asio::awaitable<void> {
            using boost::asio::use_awaitable;
            const auto at = w.remote(0, 8);
            const auto first = co_await async_fetch_add(*w.here, at, 1, use_awaitable);
            CHECK(first == 0x0101'0101'0101'0101);
            const auto second = co_await async_compare_swap(*w.here, at, 0x0101'0101'0101'0102, 5, use_awaitable);
            CHECK(second == 0x0101'0101'0101'0102);
            CHECK(w.word() == 5);
            co_await async_write_with_immediate(*w.here, w.source.slice(0, 8), at, 77, use_awaitable);
            co_await async_read(*w.here, w.source.slice(8, 8), at, use_awaitable);
            const auto [error, old]
                = co_await async_fetch_add(*w.here, w.remote(0, 4), 1, boost::asio::as_tuple(use_awaitable));
            CHECK(error == errc::out_of_range);
            CHECK(old == 0);
            ended = true;
        },
        [](std::exception_ptr failed) { CHECK_FALSE(failed); });
    w.run_until([&] { return ended && immediate != 0; });
    CHECK(immediate == 77);
    CHECK(w.word() == 0x0202'0202'0202'0202);
    w.check_baseline();
}

TEST_CASE("what the remote buffer does not allow is refused here, and costs nothing")
{
    exposed w;
    told_errors told;
    const auto read_only = w.remote(0, 100, fabric::access::remote_read);
    async_write(*w.here, w.source.slice(0, 100), read_only, told.handler());
    async_read(*w.here, w.source.slice(0, 101), read_only, told.handler());
    async_read(*w.here, w.source.slice(0, 1), remote_buffer{}, told.handler());
    async_write_with_immediate(*w.here, w.source.slice(0, 1), read_only, 1, told.handler());
    async_fetch_add(*w.here, read_only, 1, [&](error_code error, std::uint64_t) { told.all.push_back(error); });
    async_read(*w.here, w.source.slice(0, 1), w.remote(0, 1, everything, 2), told.handler()); // of another epoch
    w.keys = {{3, w.key.rkey}};                                                               // there is no lane 3
    async_read(*w.here, w.source.slice(0, 1), w.remote(0, 1), told.handler());
    CHECK(told.all.empty());
    w.run_until([&] { return told.all.size() == 7; });
    CHECK(told.all[0] == errc::invalid_argument);
    CHECK(told.all[1] == errc::out_of_range);
    CHECK(told.all[2] == errc::invalid_argument);
    CHECK(told.all[3] == errc::invalid_argument);
    CHECK(told.all[4] == errc::invalid_argument);
    CHECK(told.all[5] == errc::exposure_revoked);
    CHECK(told.all[6] == errc::lane_error);
    CHECK_FALSE(w.lane().failed());
    w.check_baseline();
}

TEST_CASE("more than the lane has room for waits its turn, and more than may wait is refused")
{
    exposed w;
    const auto room = w.lane().send_room();
    const auto total = room + traffic::waiting_max + 5;
    told_errors told;
    std::vector<std::uint32_t> order;
    for (std::uint32_t i = 0; i != total; ++i) {
        async_write(*w.here, w.source.slice(0, 16), w.remote(0, 16), [&, i](error_code error) {
            told.all.push_back(error);
            if (!error.failed()) {
                order.push_back(i);
            }
        });
    }
    CHECK(told.all.empty());
    w.run_until([&] { return told.all.size() == total; });
    CHECK(told.failed() == 5);
    CHECK(std::count(told.all.begin(), told.all.end(), make_error_code(errc::send_queue_full)) == 5);
    CHECK(std::is_sorted(order.begin(), order.end()));
    w.check_baseline();
}

TEST_CASE("what waits is cancelled, or times out, without harm to the lane")
{
    exposed w;
    told_errors told;
    const auto room = w.lane().send_room();
    for (std::uint32_t i = 0; i != room; ++i) {
        async_write(*w.here, w.source.slice(0, 16), w.remote(0, 16), told.handler());
    }
    cancellation_signal signal;
    std::vector<error_code> waiting;
    const auto note = [&](error_code error) { waiting.push_back(error); };
    operation_options soon;
    soon.deadline = w.near->time().now() + std::chrono::milliseconds(1);
    async_write(*w.here, w.source.slice(0, 16), w.remote(16, 16), bind_cancellation_slot(signal.slot(), note));
    signal.emit(cancellation_type::terminal);
    CHECK(waiting.empty());
    if (!on_verbs()) { // there the far side goes on by itself
        async_write(*w.here, w.source.slice(0, 16), w.remote(16, 16), soon, note);
        w.run_near_until([&] { return waiting.size() == 2; });
        CHECK(waiting[1] == errc::timed_out);
        CHECK(told.all.empty());
    }
    w.run_until([&] { return told.all.size() == room && !waiting.empty(); });
    CHECK(waiting[0] == errc::cancelled);
    CHECK(told.failed() == 0);
    CHECK(w.target.bytes()[16] == std::byte{1});
    w.check_baseline();
}

TEST_CASE("a connection destroyed under work in flight and work that waits ends all of it, once")
{
    exposed w;
    told_errors told;
    const auto total = w.lane().send_room() + 20;
    for (std::uint32_t i = 0; i != total; ++i) {
        async_read(*w.here, w.source.slice(0, 16), w.remote(0, 16), told.handler());
    }
    w.here.reset();
    CHECK(told.all.empty());
    w.run_until([&] { return told.all.size() == total; });
    CHECK(std::count(told.all.begin(), told.all.end(), make_error_code(errc::connection_closed)) == 20);
    w.run_until([&] { return w.near->poller().outstanding() == 0; });
    CHECK(told.all.size() == total);
}

TEST_CASE("a lane that dies under work in flight and work that waits ends all of it, once")
{
    exposed w;
    told_errors told;
    const auto total = w.lane().send_room() + 20;
    for (std::uint32_t i = 0; i != total; ++i) {
        async_read(*w.here, w.source.slice(0, 16), w.remote(0, 16), told.handler());
    }
    w.lane().fail(errc::lane_error);
    CHECK(told.all.empty());
    w.run_until([&] { return told.all.size() == total; });
    CHECK(told.failed() >= 20);
    w.here.reset();
    w.run_until([&] { return w.near->poller().outstanding() == 0; });
    CHECK(told.all.size() == total);
}

TEST_CASE("a peer that is gone ends all of it, once")
{
    exposed w;
    told_errors told;
    const auto total = w.lane().send_room() + 20;
    for (std::uint32_t i = 0; i != total; ++i) {
        async_read(*w.here, w.source.slice(0, 16), w.remote(0, 16), told.handler());
    }
    w.there.reset();
    w.target = {};
    w.far->poller().release_hold();
    w.far.reset();
    CHECK(told.all.empty());
    w.run_near_until([&] { return told.all.size() == total; });
    CHECK(told.failed() >= 20);
    w.here.reset();
    w.run_near_until([&] { return w.near->poller().outstanding() == 0; });
    CHECK(told.all.size() == total);
}

TEST_CASE("a runtime that ends takes along what is in flight and what waits")
{
    exposed w;
    const auto held = std::make_shared<int>(0);
    const auto total = w.lane().send_room() + 20;
    for (std::uint32_t i = 0; i != total; ++i) {
        async_read(*w.here, w.source.slice(0, 16), w.remote(0, 16), [held](error_code) {});
    }
    w.here.reset();
    w.source = {};
    w.near.reset();
    w.near_context.restart();
    (void)w.near_context.poll(); // those that were told but not run yet
    CHECK(held.use_count() == 1);
}

TEST_CASE("a revoked exposure is refused, and the peer is told when our work on it has ended")
{
    exposed w;
    told_errors told;
    std::vector<std::byte> released;
    w.there->on_control(connection::control_kind::released,
        [&](std::span<const std::byte> payload) { released.assign(payload.begin(), payload.end()); });
    async_write(*w.here, w.source.slice(0, 16), w.remote(0, 16), told.handler());
    CHECK(exposure_ledger::of(*w.here).use().in_use() == 1);
    const std::array<std::byte, 8> id{std::byte{1}};
    REQUIRE_FALSE(w.there->send_control(connection::control_kind::revoke, id).failed());
    w.run_until([&] { return !released.empty(); });
    CHECK(std::equal(released.begin(), released.end(), id.begin(), id.end()));
    CHECK(told.all.size() == 1);
    CHECK(told.failed() == 0);
    async_write(*w.here, w.source.slice(0, 16), w.remote(0, 16), told.handler());
    w.run_until([&] { return told.all.size() == 2; });
    CHECK(told.all.back() == errc::exposure_revoked);
    w.check_baseline();
}
