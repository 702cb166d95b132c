#include "exposed.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include <vector>

using namespace penstock;
using namespace penstock::test;
using namespace penstock::transfer;
using namespace std::chrono_literals;
using boost::asio::bind_cancellation_slot;
using boost::asio::cancellation_signal;
using boost::asio::cancellation_type;

namespace {

struct outcome {
    int calls = 0;
    error_code error{};
    auto handler()
    {
        return [this](error_code told) {
            ++calls;
            error = told;
        };
    }
};

constexpr auto for_ever = std::chrono::hours(1);

} // namespace

TEST_CASE("a deadline that has passed posts nothing")
{
    exposed w;
    outcome one;
    operation_options options;
    options.deadline = w.near->time().now();
    async_write(w.lane(), w.local(8), w.key, options, one.handler());
    CHECK(one.calls == 0);
    CHECK(w.near->poller().outstanding() == 0);
    w.run_until([&] { return one.calls != 0; });
    CHECK(one.error == errc::timed_out);
    CHECK(w.word() == 0x0101'0101'0101'0101);
    w.check_baseline();
}

TEST_CASE("a deadline that is met changes nothing")
{
    exposed w;
    outcome one;
    operation_options options;
    options.deadline = w.near->time().now() + for_ever;
    async_write(w.lane(), w.local(8), w.key, options, one.handler());
    CHECK(one.calls == 0);
    w.run_until([&] { return one.calls != 0; });
    CHECK_FALSE(one.error.failed());
    CHECK(w.near->poller().timers().next() == time_point_never);
    w.check_baseline();
}

// [tcp]: on verbs the far side's hardware answers whatever its program does, so nothing can be made to stand still there.
TEST_CASE("a peer that stands still costs the lane once deadline and grace are over", "[tcp]")
{
    exposed w;
    outcome one;
    outcome other;
    int down = 0;
    error_code why;
    w.here->on_down([&](error_code told) {
        ++down;
        why = told;
    });
    operation_options options;
    options.deadline = w.near->time().now() + 1ms;
    options.revoke_grace = 1ms;
    async_read(w.lane(), w.local(8), w.key, options, one.handler());
    async_read(w.lane(), w.local(8), w.key, other.handler()); // no deadline: shares the lane's fate
    w.run_near_until([&] { return one.calls != 0 && other.calls != 0 && down != 0; });
    CHECK(one.error == errc::timed_out);
    CHECK(other.error == completion_status::flushed);
    CHECK(why == errc::timed_out);
    CHECK(w.lane().failed());
    w.check_baseline();
    CHECK(one.calls == 1);
    CHECK(down == 1);
}

TEST_CASE("what ends by itself within the grace costs no lane, and still reports the deadline", "[tcp]")
{
    exposed w;
    outcome one;
    operation_options options;
    options.deadline = w.near->time().now() + 1ms;
    options.revoke_grace = for_ever;
    async_write(w.lane(), w.local(8), w.key, options, one.handler());
    // The timer that is left is that of the grace.
    w.run_near_until([&] { return w.near->poller().timers().next() > options.deadline + 1min; });
    CHECK(one.calls == 0);
    w.run_until([&] { return one.calls != 0; });
    CHECK(one.error == errc::timed_out);
    CHECK(w.word() == 0x0202'0202'0202'0202);
    CHECK_FALSE(w.lane().failed());
    w.check_baseline();
}

TEST_CASE("a cancelled operation ends as cancelled, outside emit()")
{
    exposed w;
    cancellation_signal signal;
    outcome one;
    operation_options options;
    options.revoke_grace = for_ever;
    async_write(w.lane(), w.local(8), w.key, options, bind_cancellation_slot(signal.slot(), one.handler()));
    CHECK(signal.slot().has_handler());
    signal.emit(cancellation_type::terminal);
    signal.emit(cancellation_type::terminal); // again: nothing more
    CHECK(one.calls == 0);
    w.run_until([&] { return one.calls != 0; });
    CHECK(one.error == errc::cancelled);
    CHECK_FALSE(signal.slot().has_handler());
    signal.emit(cancellation_type::terminal); // late: nobody listens
    CHECK_FALSE(w.lane().failed());
    CHECK(w.near->poller().timers().next() == time_point_never);
    w.check_baseline();
}

TEST_CASE("cancelled at a peer that stands still: the lane is given up after the grace", "[tcp]")
{
    exposed w;
    cancellation_signal signal;
    outcome one;
    operation_options options;
    options.deadline = w.near->time().now() + for_ever;
    options.revoke_grace = 1ms;
    async_read(w.lane(), w.local(8), w.key, options, bind_cancellation_slot(signal.slot(), one.handler()));
    signal.emit(cancellation_type::all);
    w.run_near_until([&] { return one.calls != 0; });
    CHECK(one.error == errc::cancelled);
    CHECK(w.lane().failed());
    w.check_baseline();
}

TEST_CASE("only terminal cancellation is taken: others promise to leave no trace")
{
    exposed w;
    cancellation_signal signal;
    outcome one;
    async_write(w.lane(), w.local(8), w.key, bind_cancellation_slot(signal.slot(), one.handler()));
    signal.emit(cancellation_type::total);
    signal.emit(cancellation_type::partial);
    w.run_until([&] { return one.calls != 0; });
    CHECK_FALSE(one.error.failed());
    w.check_baseline();
}

TEST_CASE("what cannot be posted leaves the cancellation slot empty and no timer")
{
    exposed w;
    w.lane().fail(errc::lane_error);
    cancellation_signal signal;
    outcome one;
    operation_options options;
    options.deadline = w.near->time().now() + for_ever;
    async_write(w.lane(), w.local(8), w.key, options, bind_cancellation_slot(signal.slot(), one.handler()));
    CHECK_FALSE(signal.slot().has_handler());
    CHECK(one.calls == 0);
    w.run_until([&] { return one.calls != 0; });
    CHECK(one.error == errc::lane_error);
}

TEST_CASE("an atomic that is given up tells no value")
{
    exposed w;
    cancellation_signal signal;
    error_code told;
    std::uint64_t value = 1;
    async_fetch_add(w.lane(), w.key, 1, bind_cancellation_slot(signal.slot(), [&](error_code error, std::uint64_t old) {
        told = error;
        value = old;
    }));
    signal.emit(cancellation_type::terminal);
    w.run_until([&] { return told.failed(); });
    CHECK(told == errc::cancelled);
    CHECK(value == 0);
    w.check_baseline();
}

TEST_CASE("a connection closed, or a runtime ended, over operations with deadlines")
{
    exposed w;
    const bool ends = GENERATE(false, true);
    auto held = std::make_shared<int>(0);
    cancellation_signal signal;
    outcome one;
    operation_options options;
    options.deadline = w.near->time().now() + for_ever;
    async_read(w.lane(), w.local(8), w.key, options,
        bind_cancellation_slot(signal.slot(), [held, &one](error_code error) { one.handler()(error); }));
    w.here.reset();
    if (ends) {
        w.source = {};
        w.near.reset();
    } else {
        w.run_until([&] { return one.calls != 0; });
    }
    CHECK(one.calls <= 1);
    if (one.calls != 0) {
        CHECK((!one.error.failed() || one.error == completion_status::flushed));
    }
    CHECK(held.use_count() == 1);
}
