#include "exposing.hpp"

using namespace penstock;
using namespace penstock::test;

// What happens to an exposure when something else goes wrong.

TEST_CASE("a connection that is closed or destroyed fences its exposures")
{
    exposing w(GENERATE(true, false));
    auto exposed = w.expose(w.client->pool().acquire().value());
    SECTION("closed here")
    {
        w.here->close();
    }
    SECTION("destroyed here")
    {
        w.here.reset();
    }
    SECTION("closed there")
    {
        w.there->close();
    }
    SECTION("closed there, and known")
    {
        w.there->close();
        w.run_until([&] { return w.here->lost().failed(); });
    }
    CHECK_FALSE(w.revoke(exposed, patient()).failed());
    CHECK(exposed.take_buffer());
}

TEST_CASE("a lane that dies while the peer is asked, and while a key is invalidated")
{
    exposing w;
    auto exposed = w.expose(w.client->pool().acquire().value());
    auto& use = exposure_ledger::of(*w.there);
    REQUIRE_FALSE(use.begin_use(exposed.remote()).failed());
    ending revoked;
    exposed.async_revoke(patient(), revoked.handler());
    SECTION("asked")
    {
        w.run_until([&] { return w.refused(exposed.remote()); });
        w.here->data().fail(errc::lane_error);
    }
    SECTION("answered, and dead before that is known")
    {
        w.run_until([&] { return w.refused(exposed.remote()); });
        use.end_use(exposed.remote());
        w.here->data().fail(errc::lane_error);
    }
    w.run_until([&] { return revoked.ended; });
    CHECK_FALSE(revoked.error.failed());
    CHECK(exposed.take_buffer());
}

TEST_CASE("an exposure destroyed with its own buffer is revoked in the background")
{
    exposing w(GENERATE(true, false));
    const auto before = w.in_use();
    transfer::expose_options options;
    options.revoke = patient();
    {
        auto exposed = w.expose(w.client->pool().acquire().value(), options);
        CHECK(w.in_use() == before + 1);
    }
    CHECK(w.in_use() == before + 1); // not yet
    w.run_until([&] { return w.in_use() == before; });
    CHECK_FALSE(w.here->lost().failed());
}

TEST_CASE("an exposure of the caller's memory that is destroyed costs its lanes")
{
    exposing w;
    const auto buffer = w.client->pool().acquire().value();
    {
        auto exposed = w.expose(buffer.slice());
    }
    error_code why;
    w.here->on_down([&](error_code told) { why = told; });
    w.run_until([&] { return why.failed(); });
    CHECK(why == errc::cancelled);
    w.run_until([&] { return exposure_ledger::of(*w.here).exposed() == 0; });
}

TEST_CASE(
    "without windows an exposure of the caller's memory that is destroyed is taken back at once, and costs no lane")
{
    exposing w(false);
    const auto buffer = w.client->pool().acquire().value();
    const auto before = w.client->poller().outstanding();
    {
        auto exposed = w.expose(buffer.slice());
        CHECK(w.client->poller().outstanding() == before + 1);
    }
    CHECK(exposure_ledger::of(*w.here).exposed() == 0);
    CHECK(w.client->poller().outstanding() == before);
    CHECK_FALSE(w.here->lost().failed());
}

TEST_CASE("destroyed while it is being revoked: the handler is called all the same")
{
    exposing w(GENERATE(true, false));
    ending revoked;
    {
        auto exposed = w.expose(w.client->pool().acquire().value());
        exposed.async_revoke(revoked.handler());
    }
    w.run_until([&] { return revoked.ended; });
    CHECK_FALSE(revoked.error.failed());
    CHECK(w.in_use() == 0);
}

namespace {

/// A request in flight that nobody waits for: until ended() is called for it, its lane cannot be destroyed.
void obstruct(connection::lane& lane)
{
    fabric::send_request request;
    request.operation = fabric::opcode::write; // of no bytes
    request.id = std::uint64_t{0xffff} << 40U; // no operation's
    REQUIRE_FALSE(lane.post({&request, 1}).failed());
}

transfer::revoke_options hasty()
{
    transfer::revoke_options options;
    options.revoke_grace = options.invalidate_limit = options.fence_limit = std::chrono::milliseconds(0);
    return options;
}

} // namespace

TEST_CASE("memory whose fence does not come in time is quarantined")
{
    exposing w;
    auto exposed = w.expose(w.client->pool().acquire().value());
    obstruct(w.here->data());
    w.here->close();
    CHECK(w.revoke(exposed, hasty()) == errc::fence_failed);
    CHECK_FALSE(exposed.take_buffer());
    CHECK(w.revoke(exposed) == errc::fence_failed);
    CHECK(w.client->pool().statistics().quarantined == 1);
    w.here->data().ended(1);
}

TEST_CASE("of the caller's memory a revocation stays pending until the fence stands, however long that takes")
{
    exposing w;
    const auto buffer = w.client->pool().acquire().value();
    auto exposed = w.expose(buffer.slice());
    obstruct(w.here->data());
    w.here->close();
    ending revoked;
    exposed.async_revoke(hasty(), revoked.handler());
    for (int turn = 0; turn != 1'000; ++turn) {
        (void)w.context.run_one_for(std::chrono::milliseconds(1));
    }
    CHECK_FALSE(revoked.ended);
    w.here->data().ended(1);
    w.run_until([&] { return revoked.ended; });
    CHECK_FALSE(revoked.error.failed());
}

TEST_CASE("a runtime that ends with exposures takes their handlers along")
{
    exposing w(GENERATE(true, false));
    const auto held = std::make_shared<int>(1);
    SECTION("revoking")
    {
        REQUIRE_FALSE(w.here->lost().failed());
        auto exposed = w.expose(w.client->pool().acquire().value());
        exposed.async_revoke(patient(), [held](error_code) { FAIL("called"); });
    }
    SECTION("exposing")
    {
        transfer::async_expose(*w.here, w.client->pool().acquire().value(), exposing::both,
            [held](error_code, const exposure&) { FAIL("called"); });
    }
    w.let_go();
    w.here.reset();
    w.client.reset();
    CHECK(held.use_count() == 1);
}

TEST_CASE("when all is revoked nothing keeps the executor running")
{
    exposing w(GENERATE(true, false));
    {
        auto exposed = w.expose(w.client->pool().acquire().value());
        CHECK_FALSE(w.revoke(exposed, patient()).failed());
    }
    w.let_go();
    w.source = {};
    w.here.reset();
    w.accepted.clear();
    w.listening.reset();
    w.run_out();
}
