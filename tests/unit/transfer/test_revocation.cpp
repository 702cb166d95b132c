#include "support/catch.hpp"

#include "transfer/revocation.hpp"

#include <array>
#include <string>
#include <string_view>
#include <vector>

using penstock::transfer::revocation;
using action = revocation::action;
using stage = revocation::stage;

namespace {

std::string_view name(action what)
{
    switch (what) {
    case action::none: return "none";
    case action::announce: return "announce";
    case action::ask_peer: return "ask_peer";
    case action::invalidate: return "invalidate";
    case action::fail_lanes: return "fail_lanes";
    case action::complete: return "complete";
    case action::quarantine: return "quarantine";
    }
    return "?";
}

/// "invalidate 01": the action, and its handles in ascending order.
std::string text(const revocation::step& step)
{
    std::string said(name(step.what));
    if (step.which.any()) {
        said += ' ';
    }
    for (std::size_t handle = 0; handle != revocation::handles_max; ++handle) {
        said += step.which[handle] ? std::to_string(handle) : "";
    }
    return said;
}

struct script {
    revocation ladder;
    explicit script(unsigned handles)
        : ladder(revocation::handles(handles))
    {}

    /// "bound 0", "revoke", ...
    std::string operator()(std::string_view event)
    {
        const auto digit
            = event.back() >= '0' && event.back() <= '9' ? static_cast<std::size_t>(event.back() - '0') : 0;
        const auto what = event.substr(0, event.find(' '));
        return text(what == "bound"           ? ladder.bound(digit)
                : what == "bind_failed"       ? ladder.bind_failed(digit)
                : what == "revoke"            ? ladder.revoke_asked()
                : what == "abandoned"         ? ladder.abandoned()
                : what == "released"          ? ladder.released()
                : what == "time"              ? ladder.time_passed()
                : what == "invalidated"       ? ladder.invalidated(digit)
                : what == "invalidate_failed" ? ladder.invalidate_failed(digit)
                : what == "lost"              ? ladder.lane_lost(digit)
                                              : ladder.lane_fenced(digit));
    }
};

script opened()
{
    script s(0b11);
    CHECK(s("bound 1") == "none");
    CHECK(s("bound 0") == "announce 01");
    CHECK(s.ladder.now() == stage::open);
    return s;
}

} // namespace

TEST_CASE("the peer answers: ask, invalidate, complete")
{
    auto s = opened();
    CHECK(s("released") == "none"); // nobody asked
    CHECK(s("time") == "none");
    CHECK(s("revoke") == "ask_peer");
    CHECK(s("revoke") == "none");
    CHECK(s("released") == "invalidate 01");
    CHECK(s("released") == "none");
    CHECK(s("invalidated 0") == "none");
    CHECK(s("invalidated 0") == "none");
    CHECK(s("invalidated 1") == "complete");
    CHECK(s("lost 0") == "none");
    CHECK(s("fenced 0") == "none");
    CHECK(s("time") == "none");
}

TEST_CASE("the peer does not answer within the grace: invalidated all the same")
{
    auto s = opened();
    CHECK(s("revoke") == "ask_peer");
    CHECK(s("time") == "invalidate 01");
    CHECK(s("released") == "none");
    CHECK(s("invalidated 1") == "none");
    CHECK(s("invalidated 0") == "complete");
}

TEST_CASE("an invalidation that does not end costs the lane")
{
    auto s = opened();
    CHECK(s("revoke") == "ask_peer");
    CHECK(s("released") == "invalidate 01");
    CHECK(s("invalidated 0") == "none");
    CHECK(s("time") == "fail_lanes 1");
    CHECK(s.ladder.now() == stage::fencing);
    CHECK(s("invalidated 1") == "none"); // too late: the lane is lost anyway, and its windows with it
    CHECK(s("lost 1") == "none");
    CHECK(s("fenced 1") == "complete");
}

TEST_CASE("an invalidation that fails costs the lane")
{
    auto s = opened();
    CHECK(s("revoke") == "ask_peer");
    CHECK(s("released") == "invalidate 01");
    CHECK(s("invalidate_failed 0") == "fail_lanes 0");
    CHECK(s("invalidate_failed 0") == "none");
    CHECK(s("fenced 0") == "none");
    CHECK(s("invalidated 1") == "complete");
}

TEST_CASE("a lane that is gone is never invalidated on, at whatever step it goes")
{
    SECTION("while open: the other one is")
    {
        auto s = opened();
        CHECK(s("lost 0") == "none");
        CHECK(s("revoke") == "ask_peer");
        CHECK(s("released") == "invalidate 1");
        CHECK(s("invalidated 1") == "none");
        CHECK(s.ladder.now() == stage::fencing);
        CHECK(s("fenced 0") == "complete");
    }
    SECTION("both while open: nobody is asked")
    {
        auto s = opened();
        CHECK(s("lost 0") == "none");
        CHECK(s("fenced 0") == "none");
        CHECK(s("lost 1") == "none");
        CHECK(s("revoke") == "none");
        CHECK(s("fenced 1") == "complete");
    }
    SECTION("both gone before: complete at once")
    {
        auto s = opened();
        CHECK(s("fenced 0") == "none"); // without lost
        CHECK(s("fenced 1") == "none");
        CHECK(s("revoke") == "complete");
    }
    SECTION("both while asking: waiting for the peer is over")
    {
        auto s = opened();
        CHECK(s("revoke") == "ask_peer");
        CHECK(s("lost 1") == "none");
        CHECK(s("lost 0") == "none");
        CHECK(s.ladder.now() == stage::fencing);
        CHECK(s("fenced 0") == "none");
        CHECK(s("fenced 1") == "complete");
    }
    SECTION("while it invalidates")
    {
        auto s = opened();
        CHECK(s("revoke") == "ask_peer");
        CHECK(s("released") == "invalidate 01");
        CHECK(s("lost 0") == "none");
        CHECK(s("invalidate_failed 0") == "none");
        CHECK(s("invalidated 1") == "none");
        CHECK(s("fenced 0") == "complete");
    }
}

TEST_CASE("binds that fail")
{
    SECTION("one of two: the other one is announced")
    {
        script s(0b11);
        CHECK(s("bound 0") == "none");
        CHECK(s("bind_failed 1") == "announce 0");
        CHECK(s("revoke") == "ask_peer");
        CHECK(s("released") == "invalidate 0");
        CHECK(s("invalidated 0") == "none");
        CHECK(s("fenced 1") == "complete");
    }
    SECTION("by the loss of the lane")
    {
        script s(0b11);
        CHECK(s("lost 1") == "none");
        CHECK(s("bound 1") == "none");
        CHECK(s("bound 0") == "announce 0");
    }
    SECTION("all: nothing is announced, and it ends with the lanes")
    {
        script s(0b11);
        CHECK(s("bind_failed 0") == "none");
        CHECK(s("bind_failed 1") == "none");
        CHECK(s("fenced 0") == "none");
        CHECK(s("fenced 1") == "complete");
    }
    SECTION("revoked meanwhile: nobody knows the keys, so nobody is asked")
    {
        script s(0b101);
        CHECK(s("revoke") == "none");
        CHECK(s("bound 0") == "none");
        CHECK(s("bound 2") == "invalidate 02");
        CHECK(s("invalidated 2") == "none");
        CHECK(s("invalidated 0") == "complete");
    }
}

TEST_CASE("an exposure that is destroyed costs its lanes")
{
    auto s = opened();
    SECTION("open") {}
    SECTION("asking")
    {
        CHECK(s("revoke") == "ask_peer");
    }
    CHECK(s("abandoned") == "fail_lanes 01");
    CHECK(s("abandoned") == "none");
    CHECK(s("fenced 1") == "none");
    CHECK(s("fenced 0") == "complete");
}

TEST_CASE("when nothing helps: quarantine, and that is the end")
{
    auto s = opened();
    CHECK(s("revoke") == "ask_peer");
    CHECK(s("time") == "invalidate 01");
    CHECK(s("time") == "fail_lanes 01");
    CHECK(s("fenced 0") == "none");
    CHECK(s("time") == "quarantine");
    CHECK(s("fenced 1") == "none");
    CHECK(s("time") == "none");
    CHECK(s.ladder.now() == stage::ended);
}

namespace {

/// The world the ladder acts on: what the peer can really reach, and what may happen next. Every order of events is tried.
struct explorer {
    struct handle_state {
        enum { unbound, posted, bound, dead } window = posted;
        bool invalidation_posted = false;
        bool lost = false;
        bool fenced = false;
        bool failing = false; // was told to
    };
    struct world {
        revocation ladder{revocation::handles(0b11)};
        std::array<handle_state, 2> handle{};
        bool announced = false;
        bool revoke_asked = false;
        bool asked_peer = false;
        bool released = false;
        bool ended = false;
    };

    std::size_t ends = 0;
    std::size_t quarantines = 0;
    std::size_t broken = 0;
    std::string first_broken;
    std::vector<std::string> path;

    void require(bool good, std::string_view rule)
    {
        if (!good && broken++ == 0) {
            first_broken = rule;
            for (const auto& event : path) {
                first_broken += "; " + event;
            }
        }
    }

    void perform(world& w, const revocation::step& step)
    {
        const bool told = step.what != action::none;
        require(!told || !w.ended, "nothing after the end");
        for (std::size_t i = 0; i != 2; ++i) {
            auto& h = w.handle[i];
            if (step.what == action::announce && step.which[i]) {
                require(h.window == handle_state::bound && !h.lost, "only what is bound is announced");
            } else if (step.what == action::invalidate && step.which[i]) {
                require(!h.invalidation_posted, "each window is invalidated once");
                require(h.window == handle_state::bound && !h.lost, "never on a dead lane");
                h.invalidation_posted = true;
            } else if (step.what == action::fail_lanes && step.which[i]) {
                h.failing = true;
            } else if (step.what == action::complete) {
                require(h.window == handle_state::dead, "complete means that nobody can touch the memory");
            }
        }
        require(step.what != action::announce || !w.announced, "announced once");
        require(step.what != action::announce || !w.revoke_asked, "nothing is announced after a revoke");
        w.announced = w.announced || step.what == action::announce;
        w.asked_peer = w.asked_peer || step.what == action::ask_peer;
        quarantines += step.what == action::quarantine ? 1U : 0U;
        w.ended = w.ended || step.what == action::complete || step.what == action::quarantine;
    }

    template <class Change>
    void branch(const world& before, std::string event, Change change)
    {
        world w = before;
        path.push_back(std::move(event));
        perform(w, change(w));
        if (w.ended) {
            ++ends;
        } else {
            explore(w);
        }
        path.pop_back();
    }

    void explore_handle(const world& w, std::size_t i)
    {
        const auto& h = w.handle[i];
        const auto digit = std::to_string(i);
        if (h.window == handle_state::posted && !h.fenced) {
            branch(w, "bound " + digit, [i](world& c) {
                c.handle[i].window = handle_state::bound;
                return c.ladder.bound(i);
            });
            branch(w, "bind_failed " + digit, [i](world& c) {
                c.handle[i].window = handle_state::bound; // it may be, for all that is known
                c.handle[i].failing = true;
                return c.ladder.bind_failed(i);
            });
        }
        if (h.invalidation_posted && h.window == handle_state::bound && !h.failing) {
            branch(w, "invalidated " + digit, [i](world& c) {
                c.handle[i].window = handle_state::dead;
                return c.ladder.invalidated(i);
            });
            branch(w, "invalidate_failed " + digit, [i](world& c) {
                c.handle[i].failing = true;
                return c.ladder.invalidate_failed(i);
            });
        }
        if (!h.lost) {
            branch(w, "lost " + digit, [i](world& c) {
                c.handle[i].lost = true;
                c.handle[i].failing = true;
                return c.ladder.lane_lost(i);
            });
        } else if (!h.fenced) {
            branch(w, "fenced " + digit, [i](world& c) {
                c.handle[i].fenced = true;
                c.handle[i].window = handle_state::dead;
                return c.ladder.lane_fenced(i);
            });
        }
    }

    void explore(const world& w)
    {
        explore_handle(w, 0);
        explore_handle(w, 1);
        if (!w.revoke_asked) {
            branch(w, "revoke", [](world& c) {
                c.revoke_asked = true;
                return c.ladder.revoke_asked();
            });
        }
        const auto now = w.ladder.now();
        if (now == stage::open || now == stage::asking) {
            branch(w, "abandoned", [](world& c) {
                c.revoke_asked = true;
                return c.ladder.abandoned();
            });
        }
        if (w.announced && !w.released) {
            branch(w, "released", [](world& c) {
                c.released = true;
                return c.ladder.released();
            });
        }
        if (now == stage::asking || now == stage::invalidating || now == stage::fencing) {
            branch(w, "time", [](world& c) { return c.ladder.time_passed(); });
        }
        // Whoever is left with nothing to wait for would wait for ever.
        const bool waits = now == stage::binding || now == stage::open;
        require(waits || w.handle[0].window != handle_state::dead || w.handle[1].window != handle_state::dead,
            "complete when nothing can be reached");
    }
};

} // namespace

TEST_CASE("in every order of events the ladder keeps its rules")
{
    explorer all;
    all.explore({});
    INFO(all.first_broken);
    CHECK(all.broken == 0);
    CHECK(all.ends > 10'000);
    CHECK(all.quarantines > 1'000);
}
