// Access violations. Each case asserts the fate of both queue pairs.

#include "conformance/suite.hpp"

namespace penstock::conformance {

namespace {

constexpr std::byte untouched{0x3c};

/// Posts `bad` at a, whose peer must refuse it with `status`; both queue pairs go to ERROR and everything behind
/// the request and on both sides' queues is flushed (`first_receive` is how the target's oldest receive ends).
void expect_both_die(linked& ends, work bad, completion_status status,
    completion_status first_receive = completion_status::flushed, const where& place = where::current())
{
    auto& [a, b] = ends;
    a.receive_nothing(900);
    b.receive_nothing(901);
    b.receive_nothing(902);
    bad.request.id = 1;
    post(a, {bad, write(2, {a.segment(0, 8)}, b.remote(0)), read(3, {a.segment(0, 8)}, b.remote(0))}, place);
    a.completions->expect_failure(1, status, place);
    // Behind it, on either queue, in the order of each queue.
    std::uint64_t next = 2;
    bool received = false;
    while (next != 4 || !received) {
        const auto told = a.completions->next("a flushed request", place);
        expect_equal("status", told.status, completion_status::flushed, place);
        if (told.id == 900)
            received = true;
        else
            expect_equal("id", told.id, next++, place);
    }
    a.expect_in_error(place);
    b.expect_in_error(place);
    b.completions->expect_failure(901, first_receive, place);
    b.completions->expect_failure(902, completion_status::flushed, place);
    a.home.run_for(2ms);
    expect(a.completions->told.empty() && b.completions->told.empty(), "nothing else completes", place);
}

void expect_refused_write(linked& ends, remote_segment to, std::size_t length)
{
    fill_with(ends.b.buffer.bytes(), untouched);
    fill(ends.a.bytes(0, length), 1);
    expect_both_die(ends, write(1, {ends.a.segment(0, length)}, to), completion_status::remote_access_error);
    expect_filled_with(ends.b.buffer.bytes(), untouched);
}

void expect_refused_read(linked& ends, remote_segment from, std::size_t length)
{
    fill_with(ends.a.buffer.bytes(), untouched);
    expect_both_die(ends, read(1, {ends.a.segment(0, length)}, from), completion_status::remote_access_error);
    expect_filled_with(ends.a.buffer.bytes(), untouched);
}

void expect_refused_atomic(linked& ends, remote_segment at)
{
    fill_with(ends.b.buffer.bytes(), untouched);
    expect_both_die(ends, fetch_add(1, ends.a.segment(0, 8), at, 1), completion_status::remote_access_error);
    expect_filled_with(ends.b.buffer.bytes(), untouched);
}

remote_segment wrong_key(const end& b)
{
    return {b.remote(0).address, b.region->rkey() ^ 0x00ff00ffU};
}

void write_wrong_key(linked& ends)
{
    expect_refused_write(ends, wrong_key(ends.b), 64);
}
void read_wrong_key(linked& ends)
{
    expect_refused_read(ends, wrong_key(ends.b), 64);
}
void atomic_wrong_key(linked& ends)
{
    expect_refused_atomic(ends, wrong_key(ends.b));
}
void write_key_zero(linked& ends)
{
    expect_refused_write(ends, {ends.b.remote(0).address, 0}, 64);
}

// The low byte is the part a window's owner changes: near misses are the likeliest mistake.
void write_key_off_by_one(linked& ends)
{
    expect_refused_write(ends, {ends.b.remote(0).address, ends.b.region->rkey() + 1}, 64);
}

void write_one_byte_before(linked& ends)
{
    expect_refused_write(ends, {ends.b.remote(0).address - 1, ends.b.region->rkey()}, 64);
}
void write_one_byte_beyond(linked& ends)
{
    expect_refused_write(ends, ends.b.remote(64 * 1024 - 63), 64);
}
void write_far_beyond(linked& ends)
{
    expect_refused_write(ends, {ends.b.remote(0).address + (std::uint64_t{1} << 40U), ends.b.region->rkey()}, 64);
}
void write_address_overflow(linked& ends)
{
    expect_refused_write(ends, {~std::uint64_t{0} - 15, ends.b.region->rkey()}, 64);
}
// Long enough that its first packets and chunks would be in range: not one byte lands.
void write_long_one_byte_beyond(world& home)
{
    end_options options;
    options.buffer_bytes = std::size_t{4} << 20U;
    linked ends(home, options, options);
    expect_refused_write(ends, ends.b.remote(1), options.buffer_bytes);
}

void read_one_byte_before(linked& ends)
{
    expect_refused_read(ends, {ends.b.remote(0).address - 1, ends.b.region->rkey()}, 64);
}
void read_one_byte_beyond(linked& ends)
{
    expect_refused_read(ends, ends.b.remote(64 * 1024 - 63), 64);
}
void read_address_overflow(linked& ends)
{
    expect_refused_read(ends, {~std::uint64_t{0} - 15, ends.b.region->rkey()}, 64);
}
void atomic_beyond(linked& ends)
{
    expect_refused_atomic(ends, ends.b.remote(64 * 1024));
}
void atomic_before(linked& ends)
{
    expect_refused_atomic(ends, {ends.b.remote(0).address - 8, ends.b.region->rkey()});
}

// The device of the target would refuse it too, but the post knows.
void atomic_misaligned(linked& ends)
{
    auto& [a, b] = ends;
    for (const std::size_t offset : {1U, 4U, 7U}) {
        const auto added = try_post(*a.pair, {fetch_add(1, a.segment(0, 8), b.remote(offset), 1)});
        expect_error("a misaligned fetch_add", added.error, errc::invalid_argument);
        const auto swapped = try_post(*a.pair, {compare_swap(1, a.segment(0, 8), b.remote(offset), 0, 1)});
        expect_error("a misaligned compare_swap", swapped.error, errc::invalid_argument);
        expect_equal("requests posted", added.posted + swapped.posted, 0U);
    }
    a.expect_ready();
    expect_equal("bytes there", load_u64(b.buffer.at(0)), 0U);
}

end_options without(access missing)
{
    end_options options;
    options.rights
        = static_cast<access>(static_cast<std::uint32_t>(every_right) & ~static_cast<std::uint32_t>(missing));
    return options;
}

void write_without_right(world& home)
{
    linked ends(home, {}, without(access::remote_write));
    expect_refused_write(ends, ends.b.remote(0), 64);
}
void read_without_right(world& home)
{
    linked ends(home, {}, without(access::remote_read));
    expect_refused_read(ends, ends.b.remote(0), 64);
}
void atomic_without_right(world& home)
{
    linked ends(home, {}, without(access::remote_atomic));
    expect_refused_atomic(ends, ends.b.remote(0));
}

void write_with_immediate_wrong_key(linked& ends)
{
    fill_with(ends.b.buffer.bytes(), untouched);
    expect_both_die(ends, write_with_immediate(1, {ends.a.segment(0, 64)}, wrong_key(ends.b), 1),
        completion_status::remote_access_error,
        ends.a.home.supports(capability::error_status_exact) ? completion_status::flushed
                                                             : completion_status::remote_access_error);
    expect_filled_with(ends.b.buffer.bytes(), untouched);
}

void local_region_is_no_remote_key(world& home)
{
    end_options options;
    options.rights = access::local_write;
    linked ends(home, {}, options);
    expect_refused_write(ends, {ends.b.remote(0).address, ends.b.region->lkey()}, 64);
}

void key_of_another_domain(linked& ends)
{
    auto& b = ends.b;
    const auto other = take("allocate_protection_domain", b.side.hardware->allocate_protection_domain());
    pages secret(4096);
    fill_with(secret.bytes(), untouched);
    const auto region = take("register_memory", other->register_memory(secret.bytes(), every_right));
    const remote_segment there{reinterpret_cast<std::uint64_t>(secret.at(0)), region->rkey()};
    expect_both_die(ends, write(1, {ends.a.segment(0, 64)}, there), completion_status::remote_access_error);
    expect_filled_with(secret.bytes(), untouched);
}

void key_of_deregistered_region(linked& ends)
{
    auto& b = ends.b;
    pages gone(4096);
    fill_with(gone.bytes(), untouched);
    auto region = take("register_memory", b.side.domain->register_memory(gone.bytes(), every_right));
    const remote_segment there{reinterpret_cast<std::uint64_t>(gone.at(0)), region->rkey()};
    post(ends.a, {write(7, {ends.a.segment(0, 8)}, there)});
    ends.a.completions->expect_success(7, completion_opcode::write);
    fill_with(gone.bytes(), untouched);
    expect_success("deregister", region->deregister());
    expect_both_die(ends, write(1, {ends.a.segment(0, 64)}, there), completion_status::remote_access_error);
    expect_filled_with(gone.bytes(), untouched);
}

/// A local mistake: the request fails, what is behind it is flushed, this side is in ERROR. What the peer
/// learns, and when, is not promised. `inexact` is the status where statuses are not the specification's.
void expect_local_failure(linked& ends, work bad, completion_status inexact = completion_status::local_protection_error,
    const where& place = where::current())
{
    auto& a = ends.a;
    a.receive_nothing(900);
    bad.request.id = 1;
    post(a, {bad, write(2, {}, ends.b.remote(0))}, place);
    a.completions->expect_failure(1,
        a.home.supports(capability::error_status_exact) ? completion_status::local_protection_error : inexact, place);
    std::uint64_t sum = 0;
    for (int i = 0; i != 2; ++i) {
        const auto told = a.completions->next("a flushed request", place);
        expect_equal("status", told.status, completion_status::flushed, place);
        sum += told.id;
    }
    expect_equal("ids flushed", sum, 902U, place);
    a.expect_in_error(place);
}

local_segment with_key(local_segment piece, std::uint32_t key)
{
    piece.lkey = key;
    return piece;
}

void send_wrong_lkey(linked& ends)
{
    ends.b.receive(5, 0, 64);
    const auto piece = ends.a.segment(0, 64);
    expect_local_failure(ends, send(1, {with_key(piece, piece.lkey ^ 0x00ff00ffU)}),
        completion_status::local_queue_pair_operation_error);
}
void write_wrong_lkey(linked& ends)
{
    fill_with(ends.b.buffer.bytes(), untouched);
    const auto piece = ends.a.segment(0, 64);
    expect_local_failure(ends, write(1, {with_key(piece, piece.lkey ^ 0x00ff00ffU)}, ends.b.remote(0)),
        completion_status::local_queue_pair_operation_error);
    expect_filled_with(ends.b.buffer.bytes(), untouched);
}
void read_wrong_lkey(linked& ends)
{
    fill_with(ends.a.buffer.bytes(), untouched);
    const auto piece = ends.a.segment(0, 64);
    expect_local_failure(ends, read(1, {with_key(piece, piece.lkey ^ 0x00ff00ffU)}, ends.b.remote(0)));
    expect_filled_with(ends.a.buffer.bytes(), untouched);
}
void read_into_region_without_local_write(world& home)
{
    end_options options;
    options.rights = access::remote_read;
    linked ends(home, options);
    fill_with(ends.a.buffer.bytes(), untouched);
    expect_local_failure(ends, read(1, {ends.a.segment(0, 64)}, ends.b.remote(0)));
    expect_filled_with(ends.a.buffer.bytes(), untouched);
}
void atomic_into_region_without_local_write(world& home)
{
    end_options options;
    options.rights = access::none;
    linked ends(home, options);
    expect_local_failure(ends, fetch_add(1, ends.a.segment(0, 8), ends.b.remote(0), 1));
    expect_equal("local bytes", load_u64(ends.a.buffer.at(0)), 0U);
}
void send_one_byte_beyond_region(linked& ends)
{
    ends.b.receive(5, 0, 64);
    expect_local_failure(ends, send(1, {{ends.a.buffer.at(64 * 1024 - 63), 64, ends.a.region->lkey()}}));
}
void send_from_before_region(linked& ends)
{
    ends.b.receive(5, 0, 64);
    expect_local_failure(ends, send(1, {{ends.a.buffer.at(0) - 1, 64, ends.a.region->lkey()}}));
}
void send_second_segment_wrong(linked& ends)
{
    ends.b.receive(5, 0, 128);
    const auto piece = ends.a.segment(0, 64);
    expect_local_failure(ends, send(1, {piece, with_key(piece, piece.lkey ^ 0x00ff00ffU)}),
        completion_status::local_queue_pair_operation_error);
}

void send_key_of_another_domain(linked& ends)
{
    auto& a = ends.a;
    const auto other = take("allocate_protection_domain", a.side.hardware->allocate_protection_domain());
    pages secret(4096);
    const auto region = take("register_memory", other->register_memory(secret.bytes(), every_right));
    ends.b.receive(5, 0, 64);
    expect_local_failure(
        ends, send(1, {{secret.at(0), 64, region->lkey()}}), completion_status::local_queue_pair_operation_error);
}

// A read-only region is good enough to send and to write from.
void read_only_region_may_be_sent(world& home)
{
    end_options options;
    options.rights = access::none;
    linked ends(home, options);
    auto& [a, b] = ends;
    fill(a.bytes(0, 64), 2);
    b.receive(7, 0, 64);
    post(a, {send(1, {a.segment(0, 64)}), write(2, {a.segment(0, 64)}, b.remote(100))});
    a.completions->expect_success(1, completion_opcode::send);
    a.completions->expect_success(2, completion_opcode::write);
    b.completions->expect_success(7, completion_opcode::receive);
    expect_pattern(b.bytes(0, 64), 2);
    expect_pattern(b.bytes(100, 64), 2);
}

constexpr conformance_case cases[] = {
    {"access/write_wrong_key", write_wrong_key},
    {"access/read_wrong_key", read_wrong_key},
    {"access/atomic_wrong_key", atomic_wrong_key},
    {"access/write_with_immediate_wrong_key", write_with_immediate_wrong_key},
    {"access/write_key_zero", write_key_zero},
    {"access/write_key_off_by_one", write_key_off_by_one},
    {"access/write_one_byte_before", write_one_byte_before},
    {"access/write_one_byte_beyond", write_one_byte_beyond},
    {"access/write_far_beyond", write_far_beyond},
    {"access/write_address_overflow", write_address_overflow},
    {"access/write_long_one_byte_beyond", write_long_one_byte_beyond},
    {"access/read_one_byte_before", read_one_byte_before},
    {"access/read_one_byte_beyond", read_one_byte_beyond},
    {"access/read_address_overflow", read_address_overflow},
    {"access/atomic_beyond", atomic_beyond},
    {"access/atomic_before", atomic_before},
    {"access/atomic_misaligned", atomic_misaligned},
    {"access/write_without_right", write_without_right},
    {"access/read_without_right", read_without_right},
    {"access/atomic_without_right", atomic_without_right},
    {"access/local_region_is_no_remote_key", local_region_is_no_remote_key},
    {"access/key_of_another_domain", key_of_another_domain},
    {"access/key_of_deregistered_region", key_of_deregistered_region},
    {"access/send_wrong_lkey", send_wrong_lkey},
    {"access/write_wrong_lkey", write_wrong_lkey},
    {"access/read_wrong_lkey", read_wrong_lkey},
    {"access/read_into_region_without_local_write", read_into_region_without_local_write},
    {"access/atomic_into_region_without_local_write", atomic_into_region_without_local_write},
    {"access/send_one_byte_beyond_region", send_one_byte_beyond_region},
    {"access/send_from_before_region", send_from_before_region},
    {"access/send_second_segment_wrong", send_second_segment_wrong},
    {"access/send_key_of_another_domain", send_key_of_another_domain},
    {"access/read_only_region_may_be_sent", read_only_region_may_be_sent},
};

} // namespace

case_table access_cases()
{
    return cases;
}

} // namespace penstock::conformance
