#include "connection/liveness.hpp"
#include "connection/recovery.hpp"
#include "support/catch.hpp"

#include <set>

using namespace penstock;
using namespace penstock::connection;
using namespace std::chrono_literals;

namespace {

using kind = recovery_action::kind;

/// Plays a script: events at instants, and what the machine then wants.
struct script {
    seeded_random_source random;
    recovery_options options{true, 100ms, 800ms, 10s};
    recovery machine;
    time_point now{};

    explicit script(std::uint64_t seed = 7)
        : random(seed)
        , machine(options, 2, random)
    {}

    /// Goes on to when the machine next wants something, and says what.
    std::optional<recovery_action> await_action()
    {
        while (true) {
            if (const auto action = machine.next(now)) {
                return action;
            }
            if (machine.wake() == time_point_never) {
                return std::nullopt;
            }
            REQUIRE(machine.wake() > now); // otherwise it would spin
            now = machine.wake();
        }
    }

    void lose(std::size_t lane)
    {
        machine.lane_lost(lane, now);
        machine.lane_fenced(lane, now);
    }

    duration wait_for(kind what, std::size_t lane = 0)
    {
        const auto before = now;
        const auto action = await_action();
        REQUIRE(action);
        CHECK(*action == recovery_action{what, lane});
        return now - before;
    }
};

} // namespace

TEST_CASE("nothing is done while nothing is wrong")
{
    script play;
    CHECK_FALSE(play.await_action());
    CHECK_FALSE(play.machine.active());
}

TEST_CASE("a lane is lost, fenced, asked for, opened, up")
{
    script play;
    play.machine.lane_lost(1, play.now);
    CHECK(play.machine.active());
    CHECK_FALSE(play.await_action()); // never before the fence
    play.machine.lane_fenced(1, play.now);
    CHECK(play.wait_for(kind::ask_for_ticket, 1) <= 100ms);
    CHECK(play.machine.asking(1));
    CHECK_FALSE(play.machine.next(play.now));
    play.machine.ticket_granted(1);
    CHECK(play.wait_for(kind::open_lane, 1) == 0ms);
    play.machine.ticket_granted(1); // one too many means nothing
    CHECK_FALSE(play.await_action());
    play.machine.lane_opened(1, play.now);
    CHECK_FALSE(play.machine.active());
    CHECK_FALSE(play.await_action());
}

TEST_CASE("each attempt waits longer, up to the most, and no two clients the same")
{
    std::set<duration> seen;
    for (std::uint64_t seed = 0; seed != 20; ++seed) {
        script play(seed);
        play.lose(0);
        const auto first = play.wait_for(kind::ask_for_ticket);
        CHECK(first <= 100ms);
        for (int attempt = 1; attempt != 8; ++attempt) {
            const auto whole = std::min<duration>(100ms * (1 << attempt), 800ms);
            if (attempt % 2 == 0) {
                play.machine.ticket_denied(0, play.now);
            } else {
                play.machine.ticket_granted(0);
                CHECK(play.wait_for(kind::open_lane) == 0ms);
                play.machine.lane_not_opened(0, play.now);
            }
            const auto waited = play.wait_for(kind::ask_for_ticket);
            CHECK(waited >= whole / 2);
            CHECK(waited <= whole);
            seen.insert(waited);
        }
    }
    CHECK(seen.size() > 100);
}

TEST_CASE("a lane that dies young goes on waiting longer, one that lived starts afresh")
{
    script play;
    for (int i = 0; i != 5; ++i) {
        play.lose(0);
        (void)play.wait_for(kind::ask_for_ticket);
        play.machine.ticket_granted(0);
        (void)play.wait_for(kind::open_lane);
        play.machine.lane_opened(0, play.now);
    }
    play.lose(0);
    CHECK(play.wait_for(kind::ask_for_ticket) >= 400ms);
    play.machine.ticket_granted(0);
    (void)play.wait_for(kind::open_lane);
    play.machine.lane_opened(0, play.now);
    play.now += 800ms;
    play.lose(0);
    CHECK(play.wait_for(kind::ask_for_ticket) <= 100ms);
}

TEST_CASE("an answer that never comes is one that was denied")
{
    script play;
    play.lose(0);
    (void)play.wait_for(kind::ask_for_ticket);
    CHECK(play.wait_for(kind::ask_for_ticket) >= 5s);
}

TEST_CASE("the control lane's loss waits for every fence, then dials once at a time")
{
    script play;
    play.machine.lane_lost(0, play.now);
    play.machine.lane_lost(1, play.now);
    play.machine.control_lost(play.now);
    play.machine.control_lost(play.now); // told twice
    play.machine.lane_fenced(0, play.now);
    play.now += 1s;
    CHECK_FALSE(play.machine.next(play.now));
    play.machine.lane_fenced(1, play.now);
    CHECK(play.wait_for(kind::dial) == 0ms); // its wait is over already
    CHECK_FALSE(play.machine.next(play.now + 5s));
    play.machine.not_dialed(play.now);
    CHECK(play.wait_for(kind::dial) >= 100ms);
    play.machine.dialed(play.now);
    CHECK_FALSE(play.machine.active());
    CHECK_FALSE(play.await_action());
}

TEST_CASE("the control lane is lost in the middle of a lane's replacement")
{
    script play;
    play.lose(0);
    (void)play.wait_for(kind::ask_for_ticket);
    const bool granted = GENERATE(false, true);
    if (granted) {
        play.machine.ticket_granted(0);
        (void)play.wait_for(kind::open_lane);
    }
    play.machine.lane_lost(1, play.now);
    play.machine.control_lost(play.now);
    play.machine.lane_not_opened(0, play.now);
    play.machine.ticket_denied(0, play.now);
    play.machine.lane_fenced(1, play.now);
    CHECK(play.wait_for(kind::dial) <= 100ms);
    play.machine.dialed(play.now);
    CHECK_FALSE(play.machine.active());
}

TEST_CASE("it is given up after so long without any lane, and not before, nor while one is up")
{
    script play;
    SECTION("dialing in vain")
    {
        play.machine.lane_lost(0, play.now);
        play.machine.lane_lost(1, play.now);
        play.machine.control_lost(play.now);
        play.machine.lane_fenced(0, play.now);
        play.machine.lane_fenced(1, play.now);
        const auto start = play.now;
        auto action = play.await_action();
        while (action && action->what == kind::dial) {
            CHECK(play.now - start < 10s);
            play.machine.not_dialed(play.now);
            action = play.await_action();
        }
        REQUIRE(action);
        CHECK(action->what == kind::give_up);
        CHECK(play.now - start == 10s);
        CHECK_FALSE(play.await_action());
    }
    SECTION("a fence that never comes")
    {
        play.machine.lane_lost(0, play.now);
        play.machine.lane_lost(1, play.now);
        CHECK(play.wait_for(kind::give_up) == 10s);
    }
    SECTION("one lane is up all the while")
    {
        play.lose(0);
        const auto start = play.now;
        while (play.now - start < 60s) {
            (void)play.wait_for(kind::ask_for_ticket);
            play.machine.ticket_denied(0, play.now);
        }
    }
    SECTION("one came back in time")
    {
        play.lose(0);
        play.lose(1);
        play.now += 9s;
        play.machine.lane_opened(1, play.now);
        play.now += 9s;
        const auto action = play.machine.next(play.now);
        REQUIRE(action);
        CHECK(action->what == kind::ask_for_ticket);
    }
}

TEST_CASE("liveness: pings at its interval, and gives up after its limit of silence")
{
    const liveness_options options{true, 1s, 3s, false};
    time_point now{};
    liveness watch(options, now);
    CHECK(watch.on_time(now) == liveness::action::none);
    const auto at_due = [&] {
        now = watch.due();
        return watch.on_time(now);
    };
    SECTION("a peer that answers")
    {
        for (int i = 0; i != 100; ++i) {
            CHECK(at_due() == liveness::action::ping);
            watch.heard(now);
        }
        CHECK(now == time_point{} + 100s);
    }
    SECTION("a peer that falls silent")
    {
        CHECK(at_due() == liveness::action::ping);
        watch.heard(now);
        CHECK(at_due() == liveness::action::ping);
        CHECK(at_due() == liveness::action::ping);
        CHECK(at_due() == liveness::action::dead);
        CHECK(now == time_point{} + 4s);
        CHECK(watch.due() == time_point_never);
    }
    SECTION("time in which nobody listened does not count")
    {
        now += 1h;
        CHECK(watch.on_time(now) == liveness::action::ping);
        CHECK(at_due() == liveness::action::ping);
        CHECK(at_due() == liveness::action::ping);
        CHECK(at_due() == liveness::action::dead);
    }
}
