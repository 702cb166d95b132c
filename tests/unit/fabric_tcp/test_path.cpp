// What path options come to on a socket.

#include "unit/fabric_tcp/world.hpp"

using namespace penstock;
using namespace penstock::test;
using namespace std::chrono_literals;

namespace {

path_options unusual()
{
    path_options path;
    path.traffic_class = 0x68;
    path.unacknowledged_max = 12'345ms;
    path.keep_alive = 7s;
    path.keep_alive_probes = 5;
    path.rnr_delay = 77us;
    path.rnr_retry_count = 3;
    path.initiator_depth = 9;
    path.responder_resources = 8;
    return path;
}

void connect_over(const boost::asio::ip::address& address, side& a, side& b)
{
    b.listening = must(b.channel->listen({address, 0}));
    connect(a, b);
}

} // namespace

TEST_CASE("a socket has the path that was asked for, on IPv4 and IPv6")
{
    const auto from = make_tcp_provider();
    side_options options;
    options.path = unusual();
    side a(*from, options);
    side b(*from, options);
    const bool ipv6 = GENERATE(false, true);
    using namespace boost::asio::ip;
    connect_over(ipv6 ? address(address_v6::loopback()) : address(address_v4::loopback()), a, b);
    CHECK(a.link->local_endpoint().address().is_v6() == ipv6);
    for (const auto* each : {&a, &b}) {
        const auto path = each->link->path().value();
        CHECK(path.options.traffic_class == 0x68);
        CHECK(path.options.unacknowledged_max == 12'345ms);
        CHECK(path.options.keep_alive == 7s);
        CHECK(path.options.keep_alive_probes == 5);
        CHECK(path.options.rnr_delay == 77us);
        CHECK(path.options.rnr_retry_count == 3);
        CHECK(path.options.initiator_depth == 8); // what the peer serves
        CHECK(path.options.responder_resources == 8);
    }
}

TEST_CASE("without a word an idle peer's machine is asked, and a slow reader is borne")
{
    const auto from = make_tcp_provider();
    side a(*from);
    side b(*from);
    CHECK(must(a.channel->resolve(b.listening->local_endpoint()))->path().error() == errc::wrong_state);
    connect(a, b);
    for (const auto* each : {&a, &b}) {
        const auto path = each->link->path().value();
        CHECK(path.options.keep_alive == 1s);
        CHECK(path.options.keep_alive_probes == 2);
        CHECK(path.options.unacknowledged_max == 0ms);
        CHECK(path.options.traffic_class == 0);
    }
}

TEST_CASE("keep-alive may be off, and nonsense is refused")
{
    const auto from = make_tcp_provider();
    side_options options;
    options.path.keep_alive = 0s;
    side a(*from, options);
    side b(*from, options);
    connect(a, b);
    CHECK(a.link->path().value().options.keep_alive == 0s);
    side c(*from);
    c.link = must(c.channel->resolve(b.listening->local_endpoint()));
    run_until("resolved", {&c}, [&] { return has_event(c, connection_event_type::resolved); });
    for (const auto change :
        {+[](path_options& path) { path.keep_alive_probes = 0; }, +[](path_options& path) { path.keep_alive = -1s; },
            +[](path_options& path) { path.unacknowledged_max = -1ms; },
            +[](path_options& path) { path.retry_count = 8; }}) {
        connect_options with;
        change(with.path);
        CHECK(c.link->connect(*c.pair, with) == errc::invalid_argument);
    }
}
