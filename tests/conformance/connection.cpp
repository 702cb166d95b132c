// Connecting: private data, rejection, refusal, addresses, many at once, other channels.

#include "conformance/suite.hpp"

namespace penstock::conformance {

namespace {

std::vector<std::byte> data_of(std::size_t size, std::uint32_t seed)
{
    std::vector<std::byte> made(size);
    fill(made, seed);
    return made;
}

/// What was sent, then nothing but zero bytes.
void expect_private_data(
    const received_private_data& seen, std::span<const std::byte> sent, const where& place = where::current())
{
    expect(seen.size >= sent.size(),
        "all the private data arrives, of " + std::to_string(sent.size()) + " bytes " + std::to_string(seen.size),
        place);
    expect(std::equal(sent.begin(), sent.end(), seen.bytes().begin()), "the private data is what was sent", place);
    expect_filled_with(seen.bytes().subspan(sent.size()), std::byte{0}, place);
}

/// A connection that has asked, and its incoming half.
struct asked {
    asked(world& home, std::span<const std::byte> data = {}, const end_options& options = {})
        : a(home, home.near, options)
        , b(home, home.far, options)
        , at(listen(home))
    {
        a.link = resolve(home, at->local_endpoint());
        connect_options with;
        with.private_data = data;
        expect_success("connect", a.link->connect(*a.pair, with));
        auto request = home.passive.expect_event(connection_event_type::connect_request, nullptr);
        seen = request.private_data;
        b.link = std::move(request.incoming);
        expect(b.link != nullptr, "a connect request brings its connection");
    }

    end a;
    end b;
    std::unique_ptr<listener> at;
    received_private_data seen;
};

void private_data_both_ways(world& home, std::size_t there, std::size_t back)
{
    const auto question = data_of(there, 1);
    const auto answer = data_of(back, 2);
    asked pair(home, question);
    expect_private_data(pair.seen, question);
    connect_options with;
    with.private_data = answer;
    expect_success("accept", pair.b.link->accept(*pair.b.pair, with));
    const auto told = home.active.expect_event(connection_event_type::established, pair.a.link.get());
    expect_private_data(told.private_data, answer);
    home.passive.expect_event(connection_event_type::established, pair.b.link.get());
    pair.b.receive_nothing(7);
    post(pair.a, {send(1, {})});
    pair.b.completions->expect_success(7, completion_opcode::receive);
}

void private_data_small(world& home)
{
    private_data_both_ways(home, 5, 7);
}
void private_data_none(world& home)
{
    private_data_both_ways(home, 0, 0);
}
void private_data_at_its_limit(world& home)
{
    const auto& limits = home.near.hardware->limits();
    expect(limits.connect_private_data_max >= 56, "at least 56 bytes to connect with");
    private_data_both_ways(home, limits.connect_private_data_max, limits.accept_private_data_max);
}

void private_data_beyond_its_limit(world& home)
{
    const auto& limits = home.near.hardware->limits();
    end a(home, home.near);
    end b(home, home.far);
    const auto at = listen(home);
    a.link = resolve(home, at->local_endpoint());
    const auto question = data_of(limits.connect_private_data_max + 1, 1);
    connect_options with;
    with.private_data = question;
    expect_error("connect with too much", a.link->connect(*a.pair, with), errc::private_data_too_long);
    with.private_data = std::span(question).first(3);
    expect_success("connect after the refusal", a.link->connect(*a.pair, with));
    auto request = home.passive.expect_event(connection_event_type::connect_request, nullptr);
    b.link = std::move(request.incoming);
    const auto answer = data_of(limits.accept_private_data_max + 1, 2);
    with.private_data = answer;
    expect_error("accept with too much", b.link->accept(*b.pair, with), errc::private_data_too_long);
    const auto refusal = data_of(limits.reject_private_data_max + 1, 3);
    expect_error("reject with too much", b.link->reject(refusal), errc::private_data_too_long);
    expect_success("accept after the refusals", b.link->accept(*b.pair, {}));
    home.active.expect_event(connection_event_type::established, a.link.get());
    home.passive.expect_event(connection_event_type::established, b.link.get());
}

void rejected(world& home)
{
    for (const auto size : {std::size_t{0}, std::size_t{9},
             static_cast<std::size_t>(home.near.hardware->limits().reject_private_data_max)}) {
        asked pair(home);
        const auto why = data_of(size, 4);
        expect_success("reject", pair.b.link->reject(why));
        const auto told = home.active.expect_event(connection_event_type::rejected, pair.a.link.get());
        expect(static_cast<bool>(told.error), "a rejection has an error");
        expect_private_data(told.private_data, why);
        expect(pair.a.pair->state() != queue_pair_state::ready_to_send, "a rejected pair is not ready");
    }
}

void nobody_listens(world& home)
{
    std::uint16_t port = 0;
    {
        const auto gone = listen(home);
        port = gone->local_endpoint().port();
    }
    end a(home, home.near);
    auto made = home.active.resolve(home.at(port));
    auto event = home.active.next("resolved, or refused at once", made.get());
    if (event.type == connection_event_type::resolved) {
        expect_success("connect", made->connect(*a.pair, {}));
        event = home.active.next("refused", made.get());
    }
    expect_equal("event", event.type, connection_event_type::rejected);
    expect_error("error", event.error, errc::refused);
    a.link = std::move(made);
    expect(a.pair->state() != queue_pair_state::ready_to_send, "a refused pair is not ready");
}

void wrong_states(world& home)
{
    end spare(home, home.near);
    {
        const auto at = listen(home);
        auto early = home.active.resolve(at->local_endpoint());
        expect_error("connect before resolved", early->connect(*spare.pair, {}), errc::wrong_state);
        home.active.expect_event(connection_event_type::resolved, early.get());
        expect_error("accept at the active side", early->accept(*spare.pair, {}), errc::wrong_state);
        expect_error("reject at the active side", early->reject({}), errc::wrong_state);
    }
    asked pair(home);
    expect_error("connect twice", pair.a.link->connect(*spare.pair, {}), errc::wrong_state);
    expect_error("connect at the passive side", pair.b.link->connect(*spare.pair, {}), errc::wrong_state);
    expect_success("accept", pair.b.link->accept(*pair.b.pair, {}));
    expect_error("accept twice", pair.b.link->accept(*spare.pair, {}), errc::wrong_state);
    expect_error("reject after accept", pair.b.link->reject({}), errc::wrong_state);
    home.active.expect_event(connection_event_type::established, pair.a.link.get());
    home.passive.expect_event(connection_event_type::established, pair.b.link.get());
    expect_error("connect when established", pair.a.link->connect(*spare.pair, {}), errc::wrong_state);
    asked other(home);
    expect_success("reject", other.b.link->reject({}));
    expect_error("accept after reject", other.b.link->accept(*other.b.pair, {}), errc::wrong_state);
    expect_error("reject twice", other.b.link->reject({}), errc::wrong_state);
    home.active.expect_event(connection_event_type::rejected, other.a.link.get());
}

// A pair that is connected already cannot be given to a second connection.
void queue_pair_used_twice(world& home)
{
    linked ends(home);
    const auto at = listen(home);
    const auto second = resolve(home, at->local_endpoint());
    const auto error = second->connect(*ends.a.pair, {});
    expect(error == make_error_code(errc::wrong_state) || error == make_error_code(errc::invalid_argument),
        "a pair in use is refused, seen " + describe(error));
    ends.b.receive_nothing(7);
    post(ends.a, {send(1, {})});
    ends.b.completions->expect_success(7, completion_opcode::receive);
}

void endpoints_are_told(world& home)
{
    const auto at = listen(home);
    expect(at->local_endpoint().port() != 0, "the listener knows its port");
    end a(home, home.near);
    end b(home, home.far);
    connect(home, *at, a, b);
    expect(a.link->remote_endpoint() == at->local_endpoint(), "the active side's remote endpoint is the listener's");
    expect(b.link->local_endpoint().port() == at->local_endpoint().port(),
        "the passive side's local port is the listener's");
    expect(b.link->remote_endpoint().address() == home.at(0).address(), "the passive side knows the peer's address");
    expect_equal("device", b.link->device_name(), std::string_view(home.far.hardware->info().name));
}

void port_in_use(world& home)
{
    const auto at = listen(home);
    const auto second = home.passive.handle->listen(at->local_endpoint());
    expect(!second, "a second listener on a port is refused");
    expect(second.error() == boost::system::errc::address_in_use,
        "the error is address in use, seen " + describe(second.error()));
}

void over(world& home, const endpoint& listening, const endpoint& asking_for)
{
    const auto at = take("listen", home.passive.handle->listen(listening));
    end a(home, home.near);
    end b(home, home.far);
    a.link = resolve(home, {asking_for.address(), at->local_endpoint().port()});
    expect_success("connect", a.link->connect(*a.pair, {}));
    auto request = home.passive.expect_event(connection_event_type::connect_request, nullptr);
    b.link = std::move(request.incoming);
    expect_success("accept", b.link->accept(*b.pair, {}));
    home.active.expect_event(connection_event_type::established, a.link.get());
    home.passive.expect_event(connection_event_type::established, b.link.get());
    fill(a.bytes(0, 6000), 3);
    post(a, {write(1, {a.segment(0, 6000)}, b.remote(0))});
    a.completions->expect_success(1, completion_opcode::write);
    expect_pattern(b.bytes(0, 6000), 3);
}

void over_ipv6(world& home)
{
    over(home, home.at_v6(0), home.at_v6(0));
}
void any_ipv4_address(world& home)
{
    over(home, {boost::asio::ip::address_v4::any(), 0}, home.at(0));
}
void any_ipv6_address(world& home)
{
    over(home, {boost::asio::ip::address_v6::any(), 0}, home.at_v6(0));
}

void many_at_once(world& home)
{
    constexpr std::size_t count = 200;
    queue shared_a(home, *home.near.hardware, 4096);
    queue shared_b(home, *home.far.hardware, 4096);
    end_options options;
    options.buffer_bytes = 4096;
    options.send_depth = 4;
    options.receive_depth = 4;
    options.segments_max = 1;
    const auto at = listen(home);
    std::vector<std::unique_ptr<end>> active;
    std::vector<std::unique_ptr<end>> passive;
    options.completions = &shared_a;
    for (std::size_t i = 0; i != count; ++i) {
        active.push_back(std::make_unique<end>(home, home.near, options));
        active.back()->link = home.active.resolve(at->local_endpoint());
    }
    options.completions = &shared_b;
    std::size_t up_a = 0;
    std::size_t up_b = 0;
    const auto serve = [&] {
        for (; !home.active.told.empty(); home.active.told.pop_front()) {
            const auto& event = home.active.told.front();
            if (event.type == connection_event_type::established) {
                ++up_a;
                continue;
            }
            expect_equal("event", event.type, connection_event_type::resolved);
            for (const auto& one : active)
                if (one->link.get() == event.source)
                    expect_success("connect", one->link->connect(*one->pair, {}));
        }
        for (; !home.passive.told.empty(); home.passive.told.pop_front()) {
            auto& event = home.passive.told.front();
            if (event.type == connection_event_type::established) {
                ++up_b;
                continue;
            }
            expect_equal("event", event.type, connection_event_type::connect_request);
            passive.push_back(std::make_unique<end>(home, home.far, options));
            passive.back()->link = std::move(event.incoming);
            passive.back()->receive_nothing(passive.size());
            expect_success("accept", passive.back()->link->accept(*passive.back()->pair, {}));
        }
        return up_a == count && up_b == count;
    };
    home.run_until("200 connections are established", serve, 30s);
    for (const auto& one : active)
        post(*one, {send(1, {})});
    home.run_until("each of them carries a message", [&] { return shared_b.told.size() == count; });
    for (const auto& told : shared_b.told)
        expect_equal("status", told.status, completion_status::success);
}

void migrated_to_another_channel(world& home)
{
    channel other(home);
    asked pair(home);
    expect_success("migrate", pair.b.link->migrate(*other.handle));
    expect_success("accept", pair.b.link->accept(*pair.b.pair, {}));
    home.active.expect_event(connection_event_type::established, pair.a.link.get());
    other.expect_event(connection_event_type::established, pair.b.link.get());
    expect_success("disconnect", pair.a.link->disconnect());
    other.expect_event(connection_event_type::disconnected, pair.b.link.get());
    home.active.expect_event(connection_event_type::disconnected, pair.a.link.get());
    for (const auto& event : home.passive.told)
        expect(event.source != pair.b.link.get(), "the old channel hears of it no more");
    pair.b.link.reset();
}

// The listener is free of those it has told.
void accepted_after_the_listener_is_gone(world& home)
{
    asked pair(home);
    pair.at.reset();
    expect_success("accept", pair.b.link->accept(*pair.b.pair, {}));
    home.active.expect_event(connection_event_type::established, pair.a.link.get());
    home.passive.expect_event(connection_event_type::established, pair.b.link.get());
    pair.b.receive_nothing(7);
    post(pair.a, {send(1, {})});
    pair.b.completions->expect_success(7, completion_opcode::receive);
}

constexpr conformance_case cases[] = {
    {"connection/private_data_small", private_data_small},
    {"connection/private_data_none", private_data_none},
    {"connection/private_data_at_its_limit", private_data_at_its_limit},
    {"connection/private_data_beyond_its_limit", private_data_beyond_its_limit},
    {"connection/rejected", rejected},
    {"connection/nobody_listens", nobody_listens},
    {"connection/wrong_states", wrong_states},
    {"connection/queue_pair_used_twice", queue_pair_used_twice},
    {"connection/endpoints_are_told", endpoints_are_told},
    {"connection/port_in_use", port_in_use},
    {"connection/over_ipv6", over_ipv6},
    {"connection/any_ipv4_address", any_ipv4_address},
    {"connection/any_ipv6_address", any_ipv6_address},
    {"connection/many_at_once", many_at_once},
    {"connection/migrated_to_another_channel", migrated_to_another_channel},
    {"connection/accepted_after_the_listener_is_gone", accepted_after_the_listener_is_gone},
};

} // namespace

case_table connection_cases()
{
    return cases;
}

} // namespace penstock::conformance
