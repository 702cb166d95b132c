#include "exposed.hpp"

#include <penstock/transfer/batch.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/use_future.hpp>

#include <future>
#include <vector>

using namespace penstock;
using namespace penstock::test;
using namespace penstock::transfer;

namespace {

/// Extents of 64 bytes: even ones are written, odd ones read.
void fill(batch& into, const exposed& w, std::size_t count)
{
    for (std::size_t i = 0; i != count; ++i) {
        const auto local = w.source.slice(i * 64, 64);
        const auto remote = w.remote(i * 64, 64);
        REQUIRE_FALSE((i % 2 == 0 ? into.write(local, remote) : into.read(local, remote)).failed());
    }
}

void check_moved(const exposed& w, std::size_t index)
{
    const auto at = index * 64 + 63;
    CHECK(w.source.bytes()[at] == w.target.bytes()[at]);
    CHECK(w.source.bytes()[at] == (index % 2 == 0 ? std::byte{2} : std::byte{1}));
}

} // namespace

TEST_CASE("a batch that fits the lane is one doorbell and one completion")
{
    exposed w;
    const std::size_t count = w.lane().send_room();
    batch all(count);
    fill(all, w, count);
    const auto operations = w.near->poller().statistics().operations;
    const auto completions = w.near->poller().statistics().completions;
    int calls = 0;
    async_transfer(*w.here, all, [&](error_code error) {
        CHECK_FALSE(error.failed());
        ++calls;
    });
    CHECK(calls == 0);
    CHECK(all.in_flight());
    CHECK(w.near->poller().statistics().operations == operations + 1);
    CHECK(w.lane().send_room() == 0);
    w.run_until([&] { return calls == 1; });
    CHECK(w.near->poller().statistics().completions == completions + 1);
    for (std::size_t i = 0; i != count; ++i) {
        CHECK_FALSE(all.error(i).failed());
        check_moved(w, i);
    }
    w.check_baseline();
}

TEST_CASE("a batch larger than the lane goes on as room comes back, and can be used again")
{
    exposed w;
    const std::size_t count = 600;
    batch all(count);
    for (int round = 0; round != 2; ++round) {
        fill(all, w, count);
        int calls = 0;
        async_transfer(*w.here, all, [&](error_code error) {
            CHECK_FALSE(error.failed());
            ++calls;
        });
        w.run_until([&] { return calls == 1; });
        for (std::size_t i = 0; i != count; ++i) {
            CHECK_FALSE(all.error(i).failed());
            check_moved(w, i);
        }
        w.check_baseline();
        CHECK_FALSE(all.clear().failed());
    }
}

TEST_CASE("extents that are wrong are told, and the others go on")
{
    exposed w;
    batch all(4);
    CHECK_FALSE(all.write(w.source.slice(0, 64), w.remote(0, 64)).failed());
    CHECK_FALSE(all.write(w.source.slice(0, 65), w.remote(0, 64)).failed());
    CHECK_FALSE(all.write(w.source.slice(0, 64), w.remote(0, 64, fabric::access::remote_read)).failed());
    CHECK_FALSE(all.write(w.source.slice(0, 64), w.remote(64, 64)).failed());
    CHECK(all.read(w.source.slice(0, 64), w.remote(0, 64)) == errc::out_of_range);
    CHECK(all.size() == 4);
    error_code told;
    async_transfer(*w.here, all, [&](error_code error) { told = error; });
    w.run_until([&] { return told.failed(); });
    CHECK(told == errc::out_of_range);
    CHECK_FALSE(all.error(0).failed());
    CHECK(all.error(1) == errc::out_of_range);
    CHECK(all.error(2) == errc::invalid_argument);
    CHECK_FALSE(all.error(3).failed());
    CHECK(w.target.bytes()[127] == std::byte{2});
    CHECK_FALSE(w.lane().failed());
    w.check_baseline();
}

TEST_CASE("an extent that the peer refuses costs itself and what was posted behind it")
{
    exposed w;
    batch all(5);
    for (std::size_t i = 0; i != 5; ++i) {
        const auto remote = i == 2 ? w.remote(exposed::length, 64) : w.remote(i * 64, 64); // beyond the window
        CHECK_FALSE(all.write(w.source.slice(i * 64, 64), remote).failed());
    }
    int calls = 0;
    error_code told;
    async_transfer(*w.here, all, [&](error_code error) {
        told = error;
        ++calls;
    });
    w.run_until([&] { return calls == 1; });
    if (!w.lane().device().device->supports().has(fabric::capability::window_range_enforced)) {
        CHECK_FALSE(told.failed()); // such a device lets it through, which is to be noticed when it no longer does
        CHECK(w.target.bytes()[exposed::length] == std::byte{2});
        return;
    }
    CHECK(told == completion_status::remote_access_error);
    CHECK_FALSE(all.error(0).failed());
    CHECK_FALSE(all.error(1).failed());
    CHECK(all.error(2) == completion_status::remote_access_error);
    CHECK(all.error(3) == completion_status::flushed);
    CHECK(all.error(4) == completion_status::flushed);
    CHECK(w.target.bytes()[127] == std::byte{2});
    CHECK(w.target.bytes()[3 * 64] == std::byte{1});
    w.run_until([&] { return w.near->poller().outstanding() == 0; });
    CHECK(calls == 1);
}

TEST_CASE("a cancelled batch posts no more; what was posted is awaited")
{
    exposed w;
    const std::size_t room = w.lane().send_room();
    const std::size_t count = room + 100;
    batch all(count);
    fill(all, w, count);
    boost::asio::cancellation_signal signal;
    error_code told;
    operation_options options;
    options.revoke_grace = std::chrono::hours(1);
    async_transfer(*w.here, all, options,
        boost::asio::bind_cancellation_slot(signal.slot(), [&](error_code error) { told = error; }));
    CHECK(w.lane().send_room() == 0);
    signal.emit(boost::asio::cancellation_type::terminal);
    CHECK_FALSE(told.failed());
    w.run_until([&] { return told.failed(); });
    CHECK(told == errc::cancelled);
    for (std::size_t i = 0; i != count; ++i) {
        if (i < room) {
            CHECK_FALSE(all.error(i).failed());
        } else {
            CHECK(all.error(i) == errc::cancelled);
        }
    }
    CHECK_FALSE(w.lane().failed());
    w.check_baseline();
}

TEST_CASE("a batch whose peer stands still costs the lane after deadline and grace", "[tcp]")
{
    exposed w;
    const std::size_t count = w.lane().send_room() + 100;
    batch all(count);
    fill(all, w, count);
    operation_options options;
    options.deadline = w.near->time().now() + std::chrono::milliseconds(1);
    options.revoke_grace = std::chrono::milliseconds(1);
    auto done = async_transfer(*w.here, all, options, boost::asio::use_future);
    w.run_near_until([&] { return done.wait_for(std::chrono::seconds(0)) == std::future_status::ready; });
    error_code told;
    try {
        done.get();
    } catch (const system_error& caught) {
        told = caught.code();
    }
    CHECK(told == errc::timed_out);
    CHECK(all.error(0) == completion_status::flushed);
    CHECK(all.error(count - 1) == errc::timed_out);
    w.run_near_until([&] { return w.near->poller().outstanding() == 0; });
}

TEST_CASE("an empty batch completes; one in flight takes no changes and is not started twice")
{
    exposed w;
    int calls = 0;
    batch none(0);
    async_transfer(*w.here, none, [&](error_code error) {
        CHECK_FALSE(error.failed());
        ++calls;
    });
    CHECK(calls == 0);
    w.run_until([&] { return calls == 1; });

    batch one(1);
    fill(one, w, 1);
    async_transfer(*w.here, one, [&](error_code error) {
        CHECK_FALSE(error.failed());
        ++calls;
    });
    CHECK(one.clear() == errc::wrong_state);
    CHECK(one.write(w.source.slice(0, 1), w.remote(0, 1)) == errc::wrong_state);
    error_code twice;
    async_transfer(*w.here, one, [&](error_code error) { twice = error; });
    w.run_until([&] { return calls == 2 && twice.failed(); });
    CHECK(twice == errc::wrong_state);
    w.check_baseline();
}

TEST_CASE("a batch in flight when its connection is destroyed ends once, and may go in its handler")
{
    exposed w;
    auto all = std::make_unique<batch>(w.lane().send_room() + 10);
    fill(*all, w, w.lane().send_room() + 10);
    int calls = 0;
    async_transfer(*w.here, *all, [&](error_code error) {
        CHECK((error == completion_status::flushed || error == errc::connection_closed));
        all.reset();
        ++calls;
    });
    w.here.reset();
    CHECK(calls == 0);
    w.run_until([&] { return calls == 1 && w.near->poller().outstanding() == 0; });
    CHECK(calls == 1);
}
