// Memory windows: binding, rebinding, range, rights, owner, invalidation by either side.

#include "conformance/suite.hpp"

namespace penstock::conformance {

namespace {

constexpr std::byte untouched{0x3c};
constexpr std::size_t begin = 8192;
constexpr std::size_t length = 4096;

remote_segment through(const memory_window& window, const end& over, std::size_t offset)
{
    return {reinterpret_cast<std::uint64_t>(over.buffer.at(offset)), window.key()};
}

void expect_write_refused(
    linked& ends, remote_segment to, std::size_t bytes = 64, const where& place = where::current())
{
    fill_with(ends.b.buffer.bytes(), untouched);
    fill(ends.a.bytes(0, bytes), 1);
    post(ends.a, {write(1, {ends.a.segment(0, bytes)}, to)}, place);
    ends.a.completions->expect_failure(1, completion_status::remote_access_error, place);
    ends.a.expect_in_error(place);
    ends.b.expect_in_error(place);
    expect_filled_with(ends.b.buffer.bytes(), untouched, place);
}

void expect_write_lands(
    linked& ends, remote_segment to, std::size_t offset, std::size_t bytes = 64, const where& place = where::current())
{
    fill_with(ends.b.buffer.bytes(), untouched);
    fill(ends.a.bytes(0, bytes), 1);
    post(ends.a, {write(1, {ends.a.segment(0, bytes)}, to)}, place);
    ends.a.completions->expect_success(1, completion_opcode::write, place);
    expect_pattern(ends.b.bytes(offset, bytes), 1, place);
}

void carries_write_read_atomic(linked& ends)
{
    auto& [a, b] = ends;
    const auto window = make_window(b);
    bind_and_wait(b, *window, begin, length);
    fill(a.bytes(0, length), 5);
    post(a,
        {write(1, {a.segment(0, length)}, through(*window, b, begin)),
            read(2, {a.segment(16384, length)}, through(*window, b, begin)),
            fetch_add(3, a.segment(32768, 8), through(*window, b, begin + 8), 1).fenced()});
    a.completions->expect_success(1, completion_opcode::write);
    a.completions->expect_success(2, completion_opcode::read);
    a.completions->expect_success(3, completion_opcode::fetch_add);
    expect_pattern(a.bytes(16384, length), 5);
    expect_equal("old value", load_u64(a.buffer.at(32768)), load_u64(a.buffer.at(8)));
}

// The region itself is closed to peers: only the window opens it.
void opens_a_closed_region(world& home)
{
    end_options options;
    options.rights = access::local_write | access::window_bind;
    linked ends(home, {}, options);
    const auto window = make_window(ends.b);
    bind_and_wait(ends.b, *window, begin, length, access::remote_write);
    expect_write_lands(ends, through(*window, ends.b, begin), begin);
    expect_write_refused(ends, ends.b.remote(begin));
}

void write_needs_its_right(linked& ends)
{
    const auto window = make_window(ends.b);
    bind_and_wait(ends.b, *window, begin, length, access::remote_read);
    expect_write_refused(ends, through(*window, ends.b, begin));
}

void read_needs_its_right(linked& ends)
{
    auto& [a, b] = ends;
    const auto window = make_window(b);
    bind_and_wait(b, *window, begin, length, access::remote_write);
    fill_with(a.bytes(0, 64), untouched);
    post(a, {read(1, {a.segment(0, 64)}, through(*window, b, begin))});
    a.completions->expect_failure(1, completion_status::remote_access_error);
    a.expect_in_error();
    b.expect_in_error();
    expect_filled_with(a.bytes(0, 64), untouched);
}

void atomic_needs_its_right(linked& ends)
{
    auto& [a, b] = ends;
    const auto window = make_window(b);
    bind_and_wait(b, *window, begin, length, access::remote_write | access::remote_read);
    post(a, {fetch_add(1, a.segment(0, 8), through(*window, b, begin), 1)});
    a.completions->expect_failure(1, completion_status::remote_access_error);
    a.expect_in_error();
    b.expect_in_error();
    expect_equal("value", load_u64(b.buffer.at(begin)), 0U);
}

/// Where ranges are not enforced the deviation is asserted: the bytes land, inside the region.
void expect_outside(linked& ends, std::size_t offset)
{
    const auto window = make_window(ends.b);
    bind_and_wait(ends.b, *window, begin, length);
    const auto outside = through(*window, ends.b, offset);
    if (ends.a.home.supports(capability::window_range_enforced))
        expect_write_refused(ends, outside);
    else
        expect_write_lands(ends, outside, offset);
}

void one_byte_before(linked& ends)
{
    expect_outside(ends, begin - 1);
}
void one_byte_beyond(linked& ends)
{
    expect_outside(ends, begin + length - 63);
}
void far_outside(linked& ends)
{
    expect_outside(ends, 40000);
}

void last_bytes_are_inside(linked& ends)
{
    const auto window = make_window(ends.b);
    bind_and_wait(ends.b, *window, begin, length);
    expect_write_lands(ends, through(*window, ends.b, begin + length - 64), begin + length - 64);
    expect_write_lands(ends, through(*window, ends.b, begin), begin);
}

// Whatever the window's range, the region's is the last word.
void never_reaches_beyond_the_region(linked& ends)
{
    const auto window = make_window(ends.b);
    bind_and_wait(ends.b, *window, begin, length);
    expect_write_refused(ends, through(*window, ends.b, 64 * 1024 - 63));
}

void rebind_gives_a_new_key(linked& ends)
{
    auto& b = ends.b;
    const auto window = make_window(b);
    bind_and_wait(b, *window, begin, length);
    const auto old = through(*window, b, begin);
    expect_write_lands(ends, old, begin);
    post(b, {local_invalidate(5, window->key())});
    b.completions->expect_success(5, completion_opcode::local_invalidate);
    bind_and_wait(b, *window, begin, length);
    expect(window->key() != old.rkey, "a new bind gives a new key");
    expect_write_lands(ends, through(*window, b, begin), begin);
    expect_write_refused(ends, old);
}

// Keys stay good through many binds: 600 is more than the key's low byte counts.
void rebinds_many_times(linked& ends)
{
    auto& [a, b] = ends;
    const auto window = make_window(b);
    for (std::uint32_t i = 0; i != 600; ++i) {
        bind_and_wait(b, *window, begin + i % 7, length - i);
        fill(a.bytes(0, 16), i);
        post(a, {write(1, {a.segment(0, 16)}, through(*window, b, begin + i % 7))});
        a.completions->expect_success(1, completion_opcode::write);
        expect_pattern(b.bytes(begin + i % 7, 16), i);
        post(b, {local_invalidate(5, window->key())});
        b.completions->expect_success(5, completion_opcode::local_invalidate);
    }
}

void two_on_one_region(linked& ends)
{
    auto& [a, b] = ends;
    const auto first = make_window(b);
    const auto second = make_window(b);
    bind_and_wait(b, *first, begin, length, access::remote_write);
    bind_and_wait(b, *second, begin + 2048, length, access::remote_read); // they overlap
    expect(first->key() != second->key(), "windows have different keys");
    fill(a.bytes(0, 4096), 8);
    post(a,
        {write(1, {a.segment(0, 4096)}, through(*first, b, begin)),
            read(2, {a.segment(8192, 2048)}, through(*second, b, begin + 2048))});
    a.completions->expect_success(1, completion_opcode::write);
    a.completions->expect_success(2, completion_opcode::read);
    expect(std::equal(a.buffer.at(8192), a.buffer.at(10240), a.buffer.at(2048)), "the bytes of the overlap");
    post(b, {local_invalidate(5, first->key())});
    b.completions->expect_success(5, completion_opcode::local_invalidate);
    post(a, {read(3, {a.segment(0, 16)}, through(*second, b, begin + 2048))});
    a.completions->expect_success(3, completion_opcode::read);
}

void bind_and_send_in_one_list(linked& ends)
{
    auto& [a, b] = ends;
    const auto window = make_window(b);
    for (std::uint64_t round = 0; round != 20; ++round) {
        a.receive(7, 0, 8);
        const auto key = window->next_key();
        store_u64(b.buffer.at(0), key);
        post(b, {bind(1, *window, b, begin, length).unsignaled(), send(2, {b.segment(0, 8)}).unsignaled()});
        a.completions->expect_success(7, completion_opcode::receive);
        const remote_segment told{
            reinterpret_cast<std::uint64_t>(b.buffer.at(begin)), static_cast<std::uint32_t>(load_u64(a.buffer.at(0)))};
        b.receive_nothing(8);
        post(a, {write_with_immediate(3, {a.segment(100, 500)}, told, 1)});
        a.completions->expect_success(3, completion_opcode::write);
        b.completions->expect_success(8, completion_opcode::receive_write_immediate);
        post(b, {local_invalidate(9, key)});
        b.completions->expect_success(9, completion_opcode::local_invalidate);
    }
}

void invalidated_by_owner(linked& ends)
{
    auto& b = ends.b;
    const auto window = make_window(b);
    bind_and_wait(b, *window, begin, length);
    post(b, {local_invalidate(5, window->key())});
    b.completions->expect_success(5, completion_opcode::local_invalidate);
    expect_write_refused(ends, through(*window, b, begin));
}

void invalidated_by_peers_send(linked& ends)
{
    auto& [a, b] = ends;
    if (!a.home.supports(capability::send_with_invalidate)) {
        expect_error(
            "send_with_invalidate", try_post(*a.pair, {send_with_invalidate(1, {}, 1)}).error, errc::not_supported);
        return;
    }
    const auto window = make_window(b);
    bind_and_wait(b, *window, begin, length);
    b.receive(7, 0, 64);
    post(a, {send_with_invalidate(1, {a.segment(0, 10)}, window->key())});
    const auto told = b.completions->expect_success(7, completion_opcode::receive);
    expect(told.has_invalidated_key, "the receive says that a key was invalidated");
    expect_equal("invalidated key", told.invalidated_key, window->key());
    expect_equal("bytes", told.byte_count, 10U);
    a.completions->expect_success(1, completion_opcode::send);
    expect_write_refused(ends, through(*window, b, begin));
}

void rebound_after_peers_invalidate(linked& ends)
{
    auto& [a, b] = ends;
    const auto window = make_window(b);
    for (int round = 0; round != 10; ++round) {
        bind_and_wait(b, *window, begin, length);
        b.receive_nothing(7);
        post(a,
            {write(1, {a.segment(0, 64)}, through(*window, b, begin)).unsignaled(),
                send_with_invalidate(2, {}, window->key())});
        a.completions->expect_success(2, completion_opcode::send);
        expect(b.completions->expect_success(7, completion_opcode::receive).has_invalidated_key,
            "the receive says that a key was invalidated");
    }
}

// A crash of the kernel on SoftRoCE (see docs/fabric.md), so asserted only where it is safe.
void invalidated_twice(linked& ends)
{
    auto& b = ends.b;
    if (!ends.a.home.supports(capability::window_reinvalidate_safe)) {
        expect(ends.a.home.on.kind == transport::verbs, "only a device behind verbs may lack this");
        return;
    }
    const auto window = make_window(b);
    bind_and_wait(b, *window, begin, length);
    post(b, {local_invalidate(5, window->key())});
    b.completions->expect_success(5, completion_opcode::local_invalidate);
    post(b, {local_invalidate(6, window->key()), write(7, {}, ends.a.remote(0))});
    const auto told = b.completions->next("the second invalidate");
    expect_equal("id", told.id, 6U);
    expect(told.status == completion_status::local_queue_pair_operation_error
            || told.status == completion_status::memory_window_bind_error,
        "the second invalidate fails, seen " + describe(told));
    b.completions->expect_failure(7, completion_status::flushed);
    b.expect_in_error();
}

// The same crash, from the peer's side: any peer could.
void invalidated_twice_by_peer(linked& ends)
{
    auto& [a, b] = ends;
    if (!a.home.supports(capability::window_reinvalidate_safe)) {
        expect(a.home.on.kind == transport::verbs, "only a device behind verbs may lack this");
        return;
    }
    const auto window = make_window(b);
    bind_and_wait(b, *window, begin, length);
    b.receive_nothing(7);
    b.receive_nothing(8);
    b.receive_nothing(9);
    post(a, {send_with_invalidate(1, {}, window->key()), send_with_invalidate(2, {}, window->key()), send(3, {})});
    a.completions->expect_success(1, completion_opcode::send);
    expect(b.completions->expect_success(7, completion_opcode::receive).has_invalidated_key,
        "the receive says that a key was invalidated");
    const auto told = a.completions->next("the second invalidate");
    expect_equal("id", told.id, 2U);
    expect(told.status != completion_status::success && told.status != completion_status::flushed,
        "the second invalidate fails, seen " + describe(told));
    a.completions->expect_failure(3, completion_status::flushed);
    const auto receive = b.completions->next("the receive of the second invalidate");
    expect_equal("id", receive.id, 8U);
    expect(receive.status != completion_status::success, "it does not succeed, seen " + describe(receive));
    b.completions->expect_failure(9, completion_status::flushed);
    a.expect_in_error();
    b.expect_in_error();
}

void invalidate_of_unknown_key(linked& ends)
{
    auto& b = ends.b;
    post(b, {local_invalidate(5, 0x7f00ff01U), write(6, {}, ends.a.remote(0))});
    const auto told = b.completions->next("the invalidate");
    expect_equal("id", told.id, 5U);
    expect(told.status != completion_status::success && told.status != completion_status::flushed,
        "the invalidate fails, seen " + describe(told));
    b.completions->expect_failure(6, completion_status::flushed);
    b.expect_in_error();
}

void used_by_another_queue_pair(world& home)
{
    linked owner(home);
    linked stranger(home);
    const auto window = make_window(owner.b);
    bind_and_wait(owner.b, *window, begin, length);
    fill_with(owner.b.buffer.bytes(), untouched);
    post(stranger.a, {write(1, {stranger.a.segment(0, 64)}, through(*window, owner.b, begin))});
    stranger.a.completions->expect_failure(1, completion_status::remote_access_error);
    stranger.a.expect_in_error();
    stranger.b.expect_in_error();
    expect_filled_with(owner.b.buffer.bytes(), untouched);
    owner.a.expect_ready();
    owner.b.expect_ready();
    expect_write_lands(owner, through(*window, owner.b, begin), begin);
}

// Where the owner is not enforced the deviation is asserted: the stranger's message kills the window.
void invalidated_by_another_connection(world& home)
{
    linked owner(home);
    linked stranger(home);
    const auto window = make_window(owner.b);
    bind_and_wait(owner.b, *window, begin, length);
    stranger.b.receive_nothing(7);
    post(stranger.a, {send_with_invalidate(1, {}, window->key())});
    if (!home.supports(capability::window_owner_enforced)) {
        stranger.a.completions->expect_success(1, completion_opcode::send);
        stranger.b.completions->expect_success(7, completion_opcode::receive);
        expect_write_refused(owner, through(*window, owner.b, begin));
        return;
    }
    const auto told = stranger.a.completions->next("the stranger's send");
    expect(told.status != completion_status::success && told.status != completion_status::flushed,
        "the stranger's send fails, seen " + describe(told));
    stranger.a.expect_in_error();
    stranger.b.expect_in_error();
    expect_write_lands(owner, through(*window, owner.b, begin), begin);
}

void destroyed_window_is_dead(linked& ends)
{
    auto window = make_window(ends.b);
    bind_and_wait(ends.b, *window, begin, length);
    const auto there = through(*window, ends.b, begin);
    expect_write_lands(ends, there, begin);
    window.reset();
    expect_write_refused(ends, there);
}

void expect_bind_fails(end& b, const work& item, const where& place = where::current())
{
    post(b, {item, write(6, {}, {})}, place);
    b.completions->expect_failure(item.request.id, completion_status::memory_window_bind_error, place);
    b.completions->expect_failure(6, completion_status::flushed, place);
    b.expect_in_error(place);
}

void bind_needs_the_region_right(world& home)
{
    end_options options;
    options.rights = access::local_write | access::remote_write;
    linked ends(home, {}, options);
    const auto window = make_window(ends.b);
    expect_bind_fails(ends.b, bind(5, *window, ends.b, 0, 64, access::remote_write));
}

void bind_for_writing_needs_local_write(world& home)
{
    end_options options;
    options.rights = access::window_bind;
    linked ends(home, {}, options);
    const auto window = make_window(ends.b);
    expect_bind_fails(ends.b, bind(5, *window, ends.b, 0, 64, access::remote_write));
}

void bind_beyond_the_region(linked& ends)
{
    const auto window = make_window(ends.b);
    expect_bind_fails(ends.b, bind(5, *window, ends.b, 64 * 1024 - 63, 64));
}

void bind_before_the_region(linked& ends)
{
    const auto window = make_window(ends.b);
    auto item = bind(5, *window, ends.b, 0, 64);
    --item.request.bind.address;
    expect_bind_fails(ends.b, item);
}

void bind_region_of_another_domain(linked& ends)
{
    auto& b = ends.b;
    const auto other = take("allocate_protection_domain", b.side.hardware->allocate_protection_domain());
    pages some(4096);
    const auto region = take("register_memory", other->register_memory(some.bytes(), every_right));
    const auto window = make_window(b);
    auto item = bind(5, *window, b, 0, 64);
    item.request.bind.region = region.get();
    item.request.bind.address = some.at(0);
    expect_bind_fails(b, item);
}

void bind_window_of_another_domain(linked& ends)
{
    auto& b = ends.b;
    const auto other = take("allocate_protection_domain", b.side.hardware->allocate_protection_domain());
    const auto window = take("allocate_window", other->allocate_window());
    expect_bind_fails(b, bind(5, *window, b, 0, 64));
}

// One invalidation for each bind: a bound window cannot be bound again.
void bind_while_bound(linked& ends)
{
    auto& b = ends.b;
    const auto window = make_window(b);
    bind_and_wait(b, *window, begin, length);
    expect_bind_fails(b, bind(5, *window, b, begin, length));
}

constexpr conformance_case cases[] = {
    {"window/carries_write_read_atomic", carries_write_read_atomic},
    {"window/opens_a_closed_region", opens_a_closed_region},
    {"window/write_needs_its_right", write_needs_its_right},
    {"window/read_needs_its_right", read_needs_its_right},
    {"window/atomic_needs_its_right", atomic_needs_its_right},
    {"window/one_byte_before", one_byte_before},
    {"window/one_byte_beyond", one_byte_beyond},
    {"window/far_outside", far_outside},
    {"window/last_bytes_are_inside", last_bytes_are_inside},
    {"window/never_reaches_beyond_the_region", never_reaches_beyond_the_region},
    {"window/rebind_gives_a_new_key", rebind_gives_a_new_key},
    {"window/rebinds_many_times", rebinds_many_times},
    {"window/two_on_one_region", two_on_one_region},
    {"window/bind_and_send_in_one_list", bind_and_send_in_one_list},
    {"window/invalidated_by_owner", invalidated_by_owner},
    {"window/invalidated_by_peers_send", invalidated_by_peers_send},
    {"window/rebound_after_peers_invalidate", rebound_after_peers_invalidate},
    {"window/invalidated_twice", invalidated_twice},
    {"window/invalidated_twice_by_peer", invalidated_twice_by_peer},
    {"window/invalidate_of_unknown_key", invalidate_of_unknown_key},
    {"window/used_by_another_queue_pair", used_by_another_queue_pair},
    {"window/invalidated_by_another_connection", invalidated_by_another_connection},
    {"window/destroyed_window_is_dead", destroyed_window_is_dead},
    {"window/bind_needs_the_region_right", bind_needs_the_region_right},
    {"window/bind_for_writing_needs_local_write", bind_for_writing_needs_local_write},
    {"window/bind_beyond_the_region", bind_beyond_the_region},
    {"window/bind_before_the_region", bind_before_the_region},
    {"window/bind_region_of_another_domain", bind_region_of_another_domain},
    {"window/bind_window_of_another_domain", bind_window_of_another_domain},
    {"window/bind_while_bound", bind_while_bound},
};

} // namespace

case_table window_cases()
{
    return cases;
}

} // namespace penstock::conformance
