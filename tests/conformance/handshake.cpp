// Peers that do not play by the rules while connecting: garbage, silence, vanishing at each step.

#include "conformance/suite.hpp"

#include <boost/asio/io_context.hpp>

#include <cerrno>

namespace penstock::conformance {

namespace {

using boost::asio::ip::tcp;

bool is_refusal(connection_event_type type)
{
    return type == connection_event_type::rejected || type == connection_event_type::unreachable
        || type == connection_event_type::failed;
}

std::vector<std::byte> garbage(std::size_t size)
{
    numbers random(size);
    std::vector<std::byte> made(size);
    for (auto& byte : made)
        byte = static_cast<std::byte>(random.next());
    return made;
}

/// A good connection can still be made, and works.
void expect_still_serves(world& home, listener& at, const where& place = where::current())
{
    end a(home, home.near);
    end b(home, home.far);
    connect(home, at, a, b, place);
    b.receive_nothing(7, place);
    post(a, {send(1, {})}, place);
    b.completions->expect_success(7, completion_opcode::receive, place);
}

/// What a connection attempt at a plain TCP server comes to: never established, and told within the deadline.
void ask_plain_server(world& home, std::span<const std::byte> words, bool close)
{
    boost::asio::io_context context;
    tcp::acceptor server(context, home.at(0));
    server.non_blocking(true);
    std::vector<tcp::socket> sockets;
    end a(home, home.near);
    a.link = home.active.resolve(server.local_endpoint());
    const auto serve = [&] {
        tcp::socket socket(context);
        error_code error;
        server.accept(socket, error);
        if (error)
            return;
        socket.non_blocking(true);
        socket.send(boost::asio::buffer(words.data(), words.size()), 0, error);
        if (!close)
            sockets.push_back(std::move(socket));
    };
    const auto next = [&] {
        home.run_until("an event about the connection", [&] {
            serve();
            return !home.active.told.empty();
        });
        return home.active.next("the event", a.link.get());
    };
    auto event = next();
    if (event.type == connection_event_type::resolved) {
        expect_success("connect", a.link->connect(*a.pair, {}));
        event = next();
    }
    expect(is_refusal(event.type), "the connection is refused, seen " + describe(event.type));
    expect(static_cast<bool>(event.error), "the refusal has an error");
    expect(a.pair->state() != queue_pair_state::ready_to_send, "the queue pair is not ready");
}

void server_speaks_garbage(world& home)
{
    ask_plain_server(home, garbage(4096), false);
}
void server_speaks_one_byte_and_closes(world& home)
{
    ask_plain_server(home, garbage(1), true);
}
void server_closes(world& home)
{
    ask_plain_server(home, {}, true);
}
void server_is_silent(world& home)
{
    ask_plain_server(home, {}, false);
}

/// Plain sockets at the listener's port: how many reached it (none where the port is not a TCP one).
std::size_t reach(world& home, listener& at, boost::asio::io_context& context, std::vector<tcp::socket>& sockets,
    std::span<const std::byte> words, std::size_t count)
{
    std::size_t reached = 0;
    for (std::size_t i = 0; i != count; ++i) {
        tcp::socket socket(context);
        error_code error;
        socket.connect(at.local_endpoint(), error);
        if (error) {
            expect(error == boost::asio::error::connection_refused, "reached or refused, seen " + describe(error));
            continue;
        }
        ++reached;
        socket.non_blocking(true);
        socket.send(boost::asio::buffer(words.data(), words.size()), 0, error);
        sockets.push_back(std::move(socket));
        home.turn();
    }
    return reached;
}

void expect_dropped(world& home, std::span<const std::byte> words, bool close)
{
    listen_options options;
    options.handshake_timeout = 200ms;
    const auto at = listen(home, options);
    boost::asio::io_context context;
    std::vector<tcp::socket> sockets;
    const auto reached = reach(home, *at, context, sockets, words, 20);
    if (close)
        sockets.clear();
    home.run_until("the listener drops them all", [&] { return at->refused_handshakes() >= reached; });
    expect_equal("handshakes refused", at->refused_handshakes(), reached);
    for (const auto& event : home.passive.told)
        fail("an event from garbage: " + describe(event.type));
    expect_still_serves(home, *at);
}

void clients_speak_garbage(world& home)
{
    expect_dropped(home, garbage(2000), false);
}
void clients_are_silent(world& home)
{
    expect_dropped(home, {}, false);
}
void clients_stop_halfway(world& home)
{
    expect_dropped(home, garbage(1), false);
}
void clients_close(world& home)
{
    expect_dropped(home, {}, true);
}

// While 50 silent ones hold the listener's attention a good one is served.
void served_beside_silent_clients(world& home)
{
    const auto at = listen(home);
    boost::asio::io_context context;
    std::vector<tcp::socket> sockets;
    reach(home, *at, context, sockets, {}, 50);
    expect_still_serves(home, *at);
}

void destroyed_while_resolving(world& home)
{
    const auto at = listen(home);
    for (int i = 0; i != 10; ++i)
        home.active.resolve(at->local_endpoint()).reset();
    home.run_for(10ms);
    expect(home.active.told.empty(), "no event names a destroyed connection");
    expect_still_serves(home, *at);
}

void destroyed_when_resolved(world& home)
{
    const auto at = listen(home);
    for (int i = 0; i != 10; ++i)
        resolve(home, at->local_endpoint()).reset();
    home.run_for(10ms);
    expect(home.active.told.empty(), "no event names a destroyed connection");
    expect_still_serves(home, *at);
}

// The request may have got there; accepting it comes to nothing.
void destroyed_after_asking(world& home)
{
    const auto at = listen(home);
    end b(home, home.far);
    {
        end a(home, home.near);
        a.link = resolve(home, at->local_endpoint());
        expect_success("connect", a.link->connect(*a.pair, {}));
        auto request = home.passive.expect_event(connection_event_type::connect_request, nullptr);
        b.link = std::move(request.incoming);
        b.receive_nothing(5);
    }
    home.run_for(10ms);
    if (!b.link->accept(*b.pair, {})) {
        auto event = home.passive.next("the end of a connection nobody wants", b.link.get());
        if (event.type == connection_event_type::established)
            event = home.passive.next("its end", b.link.get());
        expect(event.type == connection_event_type::disconnected || is_refusal(event.type),
            "the end is told, seen " + describe(event.type));
        b.expect_in_error();
        b.completions->expect_failure(5, completion_status::flushed);
    }
    b.link.reset();
    expect_still_serves(home, *at);
}

void incoming_destroyed(world& home)
{
    const auto at = listen(home);
    end a(home, home.near);
    a.link = resolve(home, at->local_endpoint());
    expect_success("connect", a.link->connect(*a.pair, {}));
    home.passive.expect_event(connection_event_type::connect_request, nullptr).incoming.reset();
    const auto event = home.active.next("the refusal", a.link.get());
    expect(is_refusal(event.type), "the connection is refused, seen " + describe(event.type));
    expect_still_serves(home, *at);
}

void destroyed_after_accepting(world& home)
{
    const auto at = listen(home);
    end a(home, home.near);
    {
        end b(home, home.far);
        a.link = resolve(home, at->local_endpoint());
        expect_success("connect", a.link->connect(*a.pair, {}));
        auto request = home.passive.expect_event(connection_event_type::connect_request, nullptr);
        b.link = std::move(request.incoming);
        expect_success("accept", b.link->accept(*b.pair, {}));
    }
    auto event = home.active.next("established, or its end", a.link.get());
    if (event.type == connection_event_type::established)
        event = home.active.next("its end", a.link.get());
    expect(event.type == connection_event_type::disconnected || is_refusal(event.type),
        "the end is told, seen " + describe(event.type));
    expect(a.pair->state() != queue_pair_state::ready_to_send, "the queue pair is not ready");
    expect_still_serves(home, *at);
}

void destroyed_when_established(world& home)
{
    const auto at = listen(home);
    for (const bool active_goes : {true, false}) {
        end a(home, home.near);
        end b(home, home.far);
        connect(home, *at, a, b);
        auto& goes = active_goes ? a : b;
        auto& stays = active_goes ? b : a;
        stays.receive_nothing(5);
        goes.link.reset();
        goes.expect_in_error();
        (active_goes ? home.passive : home.active).expect_event(connection_event_type::disconnected, stays.link.get());
        stays.completions->expect_failure(5, completion_status::flushed);
        stays.expect_in_error();
    }
    home.run_for(5ms);
    expect(home.active.told.empty() && home.passive.told.empty(), "no event names a destroyed connection");
}

// Ten ask and nobody polls the passive side's channel: the listener goes. None of the ten may hang.
void listener_destroyed_with_connects_in_flight(world& home)
{
    auto at = listen(home);
    std::vector<std::unique_ptr<end>> asking;
    for (int i = 0; i != 10; ++i) {
        asking.push_back(std::make_unique<end>(home, home.near));
        asking.back()->link = resolve(home, at->local_endpoint());
    }
    home.passive.paused = true;
    for (const auto& one : asking)
        expect_success("connect", one->link->connect(*one->pair, {}));
    home.run_for(5ms);
    at.reset();
    home.passive.paused = false;
    for (const auto& one : asking) {
        const auto event = home.active.next("the refusal", one->link.get());
        expect(is_refusal(event.type), "the connection is refused, seen " + describe(event.type));
    }
    expect(home.passive.told.empty(), "a listener that is gone tells nothing");
    const auto next = listen(home);
    expect_still_serves(home, *next);
}

constexpr conformance_case cases[] = {
    {"handshake/server_speaks_garbage", server_speaks_garbage},
    {"handshake/server_speaks_one_byte_and_closes", server_speaks_one_byte_and_closes},
    {"handshake/server_closes", server_closes},
    {"handshake/server_is_silent", server_is_silent},
    {"handshake/clients_speak_garbage", clients_speak_garbage},
    {"handshake/clients_are_silent", clients_are_silent},
    {"handshake/clients_stop_halfway", clients_stop_halfway},
    {"handshake/clients_close", clients_close},
    {"handshake/served_beside_silent_clients", served_beside_silent_clients},
    {"handshake/destroyed_while_resolving", destroyed_while_resolving},
    {"handshake/destroyed_when_resolved", destroyed_when_resolved},
    {"handshake/destroyed_after_asking", destroyed_after_asking},
    {"handshake/incoming_destroyed", incoming_destroyed},
    {"handshake/destroyed_after_accepting", destroyed_after_accepting},
    {"handshake/destroyed_when_established", destroyed_when_established},
    {"handshake/listener_destroyed_with_connects_in_flight", listener_destroyed_with_connects_in_flight},
};

} // namespace

case_table handshake_cases()
{
    return cases;
}

} // namespace penstock::conformance
