// Ending connections and taking things apart in every order the ownership tree allows.

#include "conformance/suite.hpp"

namespace penstock::conformance {

namespace {

void disconnect_twice(linked& ends)
{
    auto& a = ends.a;
    expect_success("disconnect", a.link->disconnect());
    expect_success("disconnect again", a.link->disconnect());
    a.home.active.expect_event(connection_event_type::disconnected, a.link.get());
    a.home.passive.expect_event(connection_event_type::disconnected, ends.b.link.get());
    expect_success("disconnect a third time", a.link->disconnect());
    expect_success("disconnect at the other side", ends.b.link->disconnect());
    a.home.run_for(10ms);
    expect(a.home.active.told.empty() && a.home.passive.told.empty(), "each side is told once");
    a.expect_in_error();
    ends.b.expect_in_error();
}

void disconnected_pair_takes_no_messages(linked& ends)
{
    auto& [a, b] = ends;
    expect_success("disconnect", a.link->disconnect());
    a.home.active.expect_event(connection_event_type::disconnected, a.link.get());
    a.home.passive.expect_event(connection_event_type::disconnected, b.link.get());
    fill_with(a.bytes(0, 64), std::byte{1});
    post(b, {write(1, {b.segment(64, 64)}, a.remote(0))});
    b.completions->expect_failure(1, completion_status::flushed);
    expect_filled_with(a.bytes(0, 64), std::byte{1});
}

void reconnect_after_each_end(world& home)
{
    const auto at = listen(home);
    for (std::uint64_t round = 0; round != 20; ++round) {
        end a(home, home.near);
        end b(home, home.far);
        connect(home, *at, a, b);
        b.receive_nothing(round);
        post(a, {send(round, {})});
        b.completions->expect_success(round, completion_opcode::receive);
        a.completions->expect_success(round, completion_opcode::send);
        expect_success("disconnect", (round % 2 == 0 ? a : b).link->disconnect());
        home.active.expect_event(connection_event_type::disconnected, a.link.get());
        home.passive.expect_event(connection_event_type::disconnected, b.link.get());
    }
}

void pair_before_connection(linked& ends)
{
    ends.a.pair.reset();
    ends.a.link.reset();
    ends.b.expect_in_error();
}

void connection_before_pair(linked& ends)
{
    ends.a.link.reset();
    ends.a.pair.reset();
    ends.b.expect_in_error();
}

// Only unmade once, never connected.
void unused_objects(world& home)
{
    auto& domain = *home.near.domain;
    queue completions(home, *home.near.hardware, 64);
    const auto receives = take("create_shared_receive_queue", domain.create_shared_receive_queue({16, 1}));
    const auto window = take("allocate_window", domain.allocate_window());
    queue_pair_options options;
    options.send_completions = completions.handle.get();
    options.receive_completions = completions.handle.get();
    options.shared_receives = receives.get();
    options.send_depth = 8;
    const auto pair = take("create_queue_pair", domain.create_queue_pair(options));
    const auto at = listen(home);
    const auto second = take("a second domain", home.near.hardware->allocate_protection_domain());
}

void destroyed_in_the_middle_of_everything(world& home)
{
    for (std::size_t round = 0; round != 12; ++round) {
        end_options options;
        options.buffer_bytes = std::size_t{1} << 20U;
        linked ends(home, options, options);
        for (auto* side : {&ends.a, &ends.b}) {
            auto& other = side == &ends.a ? ends.b : ends.a;
            side->receive(50, 0, 4096);
            for (std::uint64_t i = 0; i != 8; ++i)
                post(*side,
                    {write(i, {side->segment(0, 400'000)}, other.remote(100)),
                        read(i, {side->segment(500'000, 400'000)}, other.remote(100)),
                        send(i, {side->segment(0, 4000)})});
        }
        for (std::size_t i = 0; i != round * round; ++i)
            home.turn();
        if (round % 3 == 0)
            ends.a.link.reset();
        if (round % 3 == 1)
            ends.b.pair.reset();
    }
}

// What a case leaves behind in the device is nothing: the device's own limits would show.
void many_generations(world& home)
{
    auto& domain = *home.far.domain;
    pages some(8192);
    for (int i = 0; i != 300; ++i) {
        const auto region = take("register_memory", domain.register_memory(some.bytes(), every_right));
        const auto window = take("allocate_window", domain.allocate_window());
        expect_success("deregister", region->deregister());
    }
}

void regions_over_the_same_bytes(linked& ends)
{
    auto& [a, b] = ends;
    const auto second = take("register_memory", b.side.domain->register_memory(b.buffer.bytes(), access::remote_read));
    expect(second->rkey() != b.region->rkey(), "two regions have different keys");
    fill(b.bytes(0, 64), 3);
    post(a, {read(1, {a.segment(0, 64)}, {b.remote(0).address, second->rkey()})});
    a.completions->expect_success(1, completion_opcode::read);
    expect_success("deregister", second->deregister());
    post(a, {read(2, {a.segment(100, 64)}, b.remote(0))});
    a.completions->expect_success(2, completion_opcode::read);
    expect_pattern(a.bytes(0, 64), 3);
    expect_pattern(a.bytes(100, 64), 3);
}

constexpr conformance_case cases[] = {
    {"teardown/disconnect_twice", disconnect_twice},
    {"teardown/disconnected_pair_takes_no_messages", disconnected_pair_takes_no_messages},
    {"teardown/reconnect_after_each_end", reconnect_after_each_end},
    {"teardown/pair_before_connection", pair_before_connection},
    {"teardown/connection_before_pair", connection_before_pair},
    {"teardown/unused_objects", unused_objects},
    {"teardown/destroyed_in_the_middle_of_everything", destroyed_in_the_middle_of_everything},
    {"teardown/many_generations", many_generations},
    {"teardown/regions_over_the_same_bytes", regions_over_the_same_bytes},
};

} // namespace

case_table teardown_cases()
{
    return cases;
}

} // namespace penstock::conformance
