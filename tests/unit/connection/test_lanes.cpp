#include "world.hpp"

#include <penstock/transfer/transfer.hpp>

#include <string>

using namespace penstock;
using namespace penstock::test;
using namespace std::chrono_literals;
using connection::control_kind;

namespace {

struct witness final : connection::lane_observer {
    std::vector<std::string> told;

    bool heard(const std::string& what) const { return std::find(told.begin(), told.end(), what) != told.end(); }
    std::size_t position(const std::string& what) const
    {
        return static_cast<std::size_t>(std::find(told.begin(), told.end(), what) - told.begin());
    }
    void lane_up(std::size_t index) override { told.push_back("up " + std::to_string(index)); }
    void lane_lost(std::size_t index, error_code) override { told.push_back("lost " + std::to_string(index)); }
    void lane_fenced(std::size_t index) override { told.push_back("fenced " + std::to_string(index)); }
    void closed(error_code) override { told.emplace_back("closed"); }
};

acceptor_options offering(std::uint32_t lanes, bool recovers = false)
{
    acceptor_options offered;
    offered.depth = 4;
    offered.lanes_max = lanes;
    offered.recovery.enabled = recovers;
    offered.recovery.give_up_after = 1s;
    return offered;
}

connection::connect_options wanting(std::uint32_t lanes, bool recovers = false)
{
    connection::connect_options wanted;
    wanted.depth = 4;
    wanted.lanes = lanes;
    wanted.recovery.enabled = recovers;
    wanted.recovery.backoff_first = 1ms;
    wanted.recovery.backoff_max = 20ms;
    wanted.recovery.give_up_after = 1s;
    wanted.liveness.keep_running = recovers;
    return wanted;
}

std::size_t lanes_up(connection::connection& of)
{
    std::size_t count = 0;
    for (std::size_t index = 0; index != of.lane_count(); ++index) {
        count += of.lane_at(index) != nullptr ? 1U : 0U;
    }
    return count;
}

/// Whether a message gets through on each lane, from `from` to `to`.
void check_traffic(world& w, connection::connection& from, connection::connection& to)
{
    std::size_t heard = 0;
    std::size_t sent = 0;
    to.on_message([&](std::span<const std::byte>) { ++heard; });
    to.owner().poller().hold(); // nothing else makes it look
    for (std::size_t index = 0; index != from.lane_count(); ++index) {
        auto& on = *from.lane_at(index);
        const auto slot = on.acquire_message().value();
        transfer::async_send(on, slot.segment(8), [&on, &sent, slot](error_code error) {
            CHECK_FALSE(error.failed());
            on.release_message(slot);
            ++sent;
        });
    }
    w.run_until([&] { return heard == from.lane_count() && sent == heard; });
    to.owner().poller().release_hold();
    to.on_message(nullptr);
}

} // namespace

TEST_CASE("as many lanes as both want, each carries messages both ways")
{
    for (const auto& [wanted, granted] : {std::pair(3U, 8U), std::pair(8U, 3U), std::pair(8U, 8U), std::pair(1U, 1U)}) {
        world w(offering(granted));
        const auto here = w.connect(wanting(wanted));
        auto& there = *w.accepted.front();
        const auto agreed = std::min(wanted, granted);
        CHECK(here->lane_count() == agreed);
        CHECK(there.lane_count() == agreed);
        CHECK(lanes_up(*here) == agreed);
        CHECK(lanes_up(there) == agreed);
        CHECK_FALSE(here->properties().recovers);
        check_traffic(w, *here, there);
        check_traffic(w, there, *here);
    }
}

TEST_CASE("without recovery one lane's death is the end of all")
{
    const int who = GENERATE(0, 1, 2); // nobody, the server, the client wants it
    world w(offering(2, who == 1));
    auto here = w.connect(wanting(2, who == 2));
    witness told;
    here->add(told);
    int down = 0;
    here->on_down([&](error_code) { ++down; });
    here->lane_at(1)->fail(errc::lane_error);
    w.run_until([&] { return told.heard("closed") && down == 1; });
    CHECK(told.heard("fenced 0"));
    CHECK(told.heard("fenced 1"));
    CHECK(lanes_up(*here) == 0);
    CHECK(here->lost() == errc::lane_error);
}

TEST_CASE("a lane that dies at either side is replaced, and the others stay as they are")
{
    world w(offering(2, true));
    auto here = w.connect(wanting(2, true));
    auto& there = *w.accepted.front();
    REQUIRE(here->properties().recovers);
    REQUIRE(there.properties().recovers);
    here->on_down([&](error_code) { FAIL("the connection is not over"); });
    there.on_down([&](error_code) { FAIL("the connection is not over"); });
    witness ours;
    witness theirs;
    here->add(ours);
    there.add(theirs);
    auto* const other = here->lane_at(0);
    for (int round = 1; round != 4; ++round) {
        auto& dies = round % 2 == 0 ? there : *here;
        dies.lane_at(1)->fail(errc::lane_error);
        w.run_until([&] { return ours.told.size() == 3U * static_cast<unsigned>(round); });
        w.run_until([&] { return theirs.told.size() == 3U * static_cast<unsigned>(round); });
        CHECK(here->lane_at(0) == other);
        CHECK_FALSE(here->lane_at(1)->failed());
        check_traffic(w, *here, there);
        check_traffic(w, there, *here);
    }
    for (const auto* told : {&ours.told, &theirs.told}) {
        CHECK(std::vector(told->begin(), told->begin() + 3) == std::vector<std::string>{"lost 1", "fenced 1", "up 1"});
    }
    CHECK(here->properties().epoch == 1);
}

TEST_CASE("all data lanes die at once and come back")
{
    world w(offering(3, true));
    auto here = w.connect(wanting(3, true));
    auto& there = *w.accepted.front();
    for (std::size_t index = 0; index != 3; ++index) {
        here->lane_at(index)->fail(errc::lane_error);
    }
    w.run_until([&] { return lanes_up(*here) == 0; });
    w.run_until([&] { return lanes_up(*here) == 3 && lanes_up(there) == 3; });
    check_traffic(w, *here, there);
}

TEST_CASE("a server that lost its connection gets a new one, the client's lives on with a higher epoch")
{
    world w(offering(2, true));
    auto here = w.connect(wanting(2, true));
    witness ours;
    witness theirs;
    here->add(ours);
    w.accepted.front()->add(theirs);
    here->on_down([&](error_code) { FAIL("the connection is not over"); });
    bool told = false;
    w.accepted.front()->on_down([&](error_code) { told = true; });
    w.accepted.front()->close(); // as if its process had ended
    w.run_until([&] { return here->properties().epoch == 2 && w.accepted.size() == 2; });
    w.run_until([&] { return theirs.heard("closed") && ours.heard("up 1"); });
    auto& there = *w.accepted.back();
    CHECK_FALSE(told);
    CHECK(there.properties().epoch == 2);
    CHECK(lanes_up(*here) == 2);
    CHECK(ours.position("fenced 0") < ours.position("up 0"));
    CHECK_FALSE(ours.heard("closed"));
    check_traffic(w, *here, there);
    check_traffic(w, there, *here);
    CHECK(w.listening->statistics().accepted == 2);
    CHECK(w.listening->statistics().open == 1);
}

TEST_CASE("a server that is gone is dialed until it is given up")
{
    world w(offering(2, true));
    auto here = w.connect(wanting(2, true));
    error_code why;
    witness ours;
    here->add(ours);
    here->on_down([&](error_code error) { why = error; });
    w.listening.reset();
    w.accepted.clear();
    w.run_out(); // the executor is kept running exactly until then
    CHECK(why == errc::refused);
    CHECK(ours.told.back() == "closed");
    CHECK(here->lost() == errc::refused);
}

TEST_CASE("a server that comes back on the same port is found again")
{
    world w(offering(2, true));
    auto wanted = wanting(2, true);
    wanted.recovery.give_up_after = 60s;
    auto here = w.connect(wanted);
    auto again = offering(2, true);
    again.listen = w.listening->local_endpoint();
    const auto before = here->properties().peer_instance;
    w.listening.reset();
    w.accepted.clear();
    w.run_until([&] { return lanes_up(*here) == 0; });
    w.listening.emplace(*w.server, again, [&](connection_ptr made) { w.accepted.push_back(std::move(made)); });
    w.run_until([&] { return lanes_up(*here) == 2 && w.accepted.size() == 1; });
    CHECK(here->properties().epoch >= 2);
    CHECK(here->properties().peer_instance != before);
    check_traffic(w, *here, *w.accepted.front());
}

TEST_CASE("a server whose client never comes back gives up too")
{
    world w(offering(1, true));
    auto here = w.connect(wanting(1, true));
    error_code why;
    w.accepted.front()->on_down([&](error_code error) { why = error; });
    SECTION("its lane is lost and the client is closed")
    {
        here->close();
    }
    SECTION("the client's runtime is gone")
    {
        here.reset();
        w.client.reset();
    }
    w.run_until([&] { return why.failed(); });
    CHECK(why == errc::connection_lost);
}

TEST_CASE("everything is back where it was after lanes were replaced and the connection was made again")
{
    world w(offering(3, true));
    const auto idle = [&] {
        return w.client->messages().statistics().in_use == 0 && w.server->messages().statistics().in_use == 0
            && w.client->poller().outstanding() == 0 && w.server->poller().outstanding() == 1;
    };
    (void)w.connect(wanting(3, true));
    w.accepted.clear();
    w.run_until(idle);
    const auto before = open_descriptors();
    for (int i = 0; i != 3; ++i) {
        auto here = w.connect(wanting(3, true));
        here->lane_at(1)->fail(errc::lane_error);
        w.run_until([&] { return lanes_up(*here) == 2; });
        w.run_until([&] { return lanes_up(*here) == 3 && lanes_up(*w.accepted.back()) == 3; });
        w.accepted.back()->close();
        w.run_until([&] { return here->properties().epoch == 2 && lanes_up(*here) == 3 && w.accepted.size() == 2; });
        here.reset();
        w.accepted.clear();
        w.run_until(idle);
        CHECK(open_descriptors() == before);
        CHECK(w.listening->statistics().open == 0);
    }
}

TEST_CASE("closing in order waits for what is in flight and tells the peer")
{
    world w(offering(2, true));
    auto here = w.connect(wanting(2, true));
    auto& there = *w.accepted.front();
    error_code why;
    there.on_down([&](error_code error) { why = error; });
    int heard = 0;
    there.on_message([&](std::span<const std::byte>) { ++heard; });
    auto& on = *here->lane_at(0);
    const auto slot = on.acquire_message().value();
    error_code sent = errc::timed_out;
    transfer::async_send(on, slot.segment(8), [&](error_code error) { sent = error; });
    std::optional<error_code> closed;
    here->async_close(5s, [&](error_code error) { closed = error; });
    CHECK_FALSE(closed);
    CHECK(here->lane_at(0) == nullptr);
    CHECK(here->lost() == errc::connection_closed);
    std::optional<error_code> twice;
    here->async_close(5s, [&](error_code error) { twice = error; });
    w.run_until([&] { return closed && twice && why.failed(); });
    CHECK_FALSE(closed->failed());
    CHECK(twice == make_error_code(errc::wrong_state));
    CHECK_FALSE(sent.failed());
    CHECK(heard == 1);
    CHECK(why == errc::connection_closed);
    CHECK(there.lost() == errc::connection_closed);
    here.reset();
    w.run_until([&] { return w.client->poller().outstanding() == 0; });
}

TEST_CASE("closing in order ends in time when the peer does nothing")
{
    world w(offering(1));
    auto here = w.connect(wanting(1));
    std::optional<error_code> closed;
    auto& on = *here->lane_at(0);
    std::vector<error_code> ended;
    const auto slot = on.acquire_message().value();
    w.server->poller().hold();
    // Sent after the peer has gone, so that only the limit or the loss can end it.
    w.listening.reset();
    transfer::async_send(on, slot.segment(8), [&](error_code error) { ended.push_back(error); });
    here->async_close(0ms, [&](error_code error) { closed = error; });
    w.run_until([&] { return closed.has_value(); });
    CHECK(ended.size() == 1); // before the fence was told
    CHECK((!closed->failed() || *closed == errc::timed_out));
    w.server->poller().release_hold();
}

TEST_CASE("a connection destroyed while it closes in order still completes")
{
    world w(offering(2));
    auto here = w.connect(wanting(2));
    std::optional<error_code> closed;
    here->async_close(5s, [&](error_code error) { closed = error; });
    here.reset();
    w.run_until([&] { return closed.has_value(); });
    CHECK_FALSE(closed->failed());
}

TEST_CASE("a runtime that ends before the fence releases what waited for it, the connection itself included")
{
    world w(offering(2));
    auto held = std::make_shared<connection_ptr>(w.connect(wanting(2)));
    const std::weak_ptr<connection_ptr> watched = held;
    const bool in_order = GENERATE(false, true);
    if (in_order) {
        (*held)->async_close(5s, [held](error_code) { FAIL("nobody is left to be told"); });
    } else {
        (*held)->close([held] { FAIL("nobody is left to be told"); });
    }
    held.reset();
    w.client.reset();
    CHECK(watched.expired());
}

TEST_CASE("one address may hold no more than its share")
{
    auto offered = offering(1);
    offered.connections_per_address_max = 2;
    world w(offered);
    auto first = w.connect(wanting(1));
    const auto second = w.connect(wanting(1));
    attempt third;
    w.begin(third, wanting(1));
    w.run_until([&] { return third.ended; });
    CHECK(third.error == errc::refused);
    w.accepted.front().reset();
    CHECK(w.connect(wanting(1)));
}

TEST_CASE("two acceptors on one port and different addresses are told apart")
{
    world w(offering(1));
    auto offered = offering(1);
    offered.listen = {boost::asio::ip::make_address("127.0.0.2"), w.listening->local_endpoint().port()};
    std::vector<connection_ptr> others;
    acceptor second(*w.server, offered, [&](connection_ptr made) { others.push_back(std::move(made)); });
    const auto ours = w.connect(wanting(1));
    CHECK(others.empty());
    attempt one;
    connection::async_connect(*w.client, offered.listen, wanting(1), [&](error_code error, connection_ptr made) {
        one.ended = true;
        one.error = error;
        one.made = std::move(made);
    });
    w.run_until([&] { return one.ended && !others.empty(); });
    CHECK(one.made);
    CHECK(others.size() == 1);
    CHECK(w.accepted.size() == 1);
    others.clear();
}

TEST_CASE("a peer that answers no ping is given up, one that answers is not")
{
    auto offered = offering(1);
    offered.liveness.interval = 5ms;
    offered.liveness.limit = 50ms;
    world w(offered);
    auto here = w.connect(wanting(1));
    error_code why;
    w.accepted.front()->on_down([&](error_code error) { why = error; });
    const auto later = w.server->time().now() + 300ms;
    w.client->poller().hold(); // the client's poller runs: it answers
    w.run_until([&] { return w.server->time().now() > later; });
    CHECK_FALSE(why.failed());
    w.client->poller().release_hold(); // and now it does not
    w.run_until([&] { return why.failed(); });
    CHECK(why == errc::connection_lost);
}

TEST_CASE("an open connection keeps the executor running only where that was asked for")
{
    world w(offering(1));
    auto wanted = wanting(1);
    CHECK_FALSE(wanted.liveness.keep_running);
    wanted.liveness.keep_running = GENERATE(false, true);
    auto here = w.connect(wanted);
    w.run_until([&] { return w.client->poller().outstanding() == (wanted.liveness.keep_running ? 1U : 0U); });
    here.reset();
    w.run_until([&] { return w.client->poller().outstanding() == 0; });
}
