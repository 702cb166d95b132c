#include "world.hpp"

#include <boost/asio/post.hpp>

using namespace penstock;
using namespace penstock::test;

TEST_CASE("both sides agree on what was chosen, and say why")
{
    acceptor_options offered;
    offered.depth = 16;
    offered.transfer_bytes_max = 12'345;
    world w(offered);
    CHECK(w.listening->transports() == "tcp (tcp was asked for)");
    const auto here = w.connect();
    const auto& ours = here->properties();
    const auto& theirs = w.accepted.front()->properties();
    CHECK(ours.transport == fabric::transport::tcp);
    CHECK(ours.transport_reason == "here: tcp was asked for");
    CHECK(theirs.transport_reason == "at the server: tcp was asked for");
    CHECK(ours.depth == 16);
    CHECK(theirs.depth == 16);
    CHECK(ours.transfer_bytes_max == 12'345);
    CHECK(ours.remote == w.listening->local_endpoint());
    CHECK(ours.peer_instance);
    CHECK(theirs.peer_instance);
    CHECK(ours.peer_instance != theirs.peer_instance);
    CHECK(w.listening->statistics().open == 1);
}

TEST_CASE("a hundred connect at once")
{
    acceptor_options offered;
    offered.half_open_max = 100;
    world w(offered);
    connection::connect_options wanted;
    wanted.depth = 4;
    wanted.timeout = std::chrono::seconds(60);
    std::vector<attempt> all(100);
    for (auto& each : all) {
        w.begin(each, wanted);
    }
    w.run_until([&] {
        return w.accepted.size() == 100 && std::all_of(all.begin(), all.end(), [](auto& a) { return a.ended; });
    });
    CHECK(std::all_of(all.begin(), all.end(), [](auto& a) { return a.made != nullptr; }));
    CHECK(w.listening->statistics().accepted == 100);
    CHECK(w.listening->statistics().refused == 0);
}

TEST_CASE("nobody listens")
{
    world w;
    const auto where = w.listening->local_endpoint();
    w.listening.reset();
    error_code told;
    connection::async_connect(*w.client, where, {}, [&](error_code error, connection_ptr) { told = error; });
    w.run_out();
    CHECK(told == errc::refused);
}

TEST_CASE("options that mean nothing, and a device that is not there")
{
    world w;
    connection::connect_options wanted;
    auto why = make_error_code(errc::invalid_argument);
    SECTION("no depth")
    {
        wanted.depth = 0;
    }
    SECTION("verbs without a device")
    {
        wanted.transport = transport_choice::verbs;
        why = errc::no_device;
    }
    attempt one;
    w.begin(one, wanted);
    w.run_until([&] { return one.ended; });
    CHECK(one.error == why);
}

TEST_CASE("an acceptor that cannot do what was asked says so and leaves nothing behind")
{
    world w;
    acceptor_options wanted;
    wanted.listen = {boost::asio::ip::address_v4::loopback(), 0};
    auto why = make_error_code(errc::invalid_argument);
    SECTION("no depth")
    {
        wanted.depth = 0;
    }
    SECTION("no transfers")
    {
        wanted.transfer_bytes_max = 0;
    }
    SECTION("verbs without a device")
    {
        wanted.transport = transport_choice::verbs;
        why = errc::no_device;
    }
    SECTION("a port in use")
    {
        wanted.listen = w.listening->local_endpoint();
        why = make_system_error(EADDRINUSE);
    }
    error_code told;
    try {
        const acceptor never(*w.server, wanted, [](connection_ptr) {});
    } catch (const system_error& error) {
        told = error.code();
    }
    CHECK(told == why);
    (void)w.connect(); // the first is as it was
}

TEST_CASE("the limit on connections is told by name, and ends with a close")
{
    acceptor_options offered;
    offered.connections_max = 1;
    world w(offered);
    auto first = w.connect();
    attempt second;
    w.begin(second);
    w.run_until([&] { return second.ended; });
    CHECK(second.error == errc::too_many_connections);
    w.run_until([&] { return w.listening->statistics().refused == 1; });
    first->close();
    w.accepted.clear();
    CHECK(w.listening->statistics().open == 0);
    CHECK(w.connect());
}

TEST_CASE("an executor runs out of work once everything is closed")
{
    world w;
    auto here = w.connect();
    int fenced = 0;
    here->close([&] { ++fenced; });
    CHECK(fenced == 0);
    w.accepted.front()->close([&] { ++fenced; });
    w.run_until([&] { return fenced == 2; });
    w.run_until([&] { return w.server->poller().outstanding() == 1; }); // the acceptor's own
    boost::asio::post(w.context, [&] { w.listening.reset(); });
    w.run_out();
    CHECK(w.client->poller().outstanding() == 0);
    CHECK(w.server->poller().outstanding() == 0);
}

TEST_CASE("a connection closed by one side is down at the other, once")
{
    world w;
    auto here = w.connect();
    int told = 0;
    error_code why;
    w.accepted.front()->on_down([&](error_code error) {
        ++told;
        why = error;
        w.accepted.clear(); // destroyed in its own callback
    });
    here->on_down([&](error_code) { FAIL("told of its own close"); });
    here->close();
    w.run_until([&] { return told != 0; });
    CHECK(why == errc::connection_lost);
    CHECK(w.listening->statistics().open == 0);
}

TEST_CASE("a data lane that dies is told on both sides")
{
    world w;
    auto here = w.connect();
    int told = 0;
    here->on_down([&](error_code) { ++told; });
    w.accepted.front()->on_down([&](error_code) { ++told; });
    here->data().fail(errc::lane_error);
    CHECK(told == 0);
    w.run_until([&] { return told == 2; });
    CHECK(here->data().failed());
}

TEST_CASE("a death before anybody listened for it is told all the same")
{
    world w;
    auto here = w.connect();
    w.client->poller().hold();
    here->data().fail(errc::lane_error);
    bool later = false;
    completion::timer after([&] { later = true; });
    w.client->poller().timers().start(after, w.client->time().now());
    w.run_until([&] { return later; });
    error_code why;
    here->on_down([&](error_code error) { why = error; });
    CHECK_FALSE(why.failed());
    w.run_until([&] { return why.failed(); });
    CHECK(why == errc::lane_error);
    w.client->poller().release_hold();
}
