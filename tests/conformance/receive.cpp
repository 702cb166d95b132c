// Receives: late ones, missing ones, short ones.

#include "conformance/suite.hpp"

#include <cstring>

namespace penstock::conformance {

namespace {

end_options retrying(std::uint8_t count)
{
    end_options options;
    options.path.rnr_retry_count = count;
    return options;
}

// 7 means for ever: the message waits for its receive.
void late_receive_is_filled(world& home)
{
    linked ends(home, retrying(7), retrying(7));
    auto& [a, b] = ends;
    fill(a.bytes(0, 3000), 3);
    post(a, {send(1, {a.segment(0, 3000)})});
    home.run_for(50ms);
    expect(a.completions->told.empty(), "a send without a receive does not complete");
    a.expect_ready();
    b.receive(7, 100, 3000);
    b.completions->expect_success(7, completion_opcode::receive);
    a.completions->expect_success(1, completion_opcode::send);
    expect_pattern(b.bytes(100, 3000), 3);
}

void late_receives_keep_order(world& home)
{
    linked ends(home, retrying(7), retrying(7));
    auto& [a, b] = ends;
    std::vector<work> list;
    for (std::uint32_t i = 0; i != 16; ++i) {
        fill(a.bytes(i * 1000, 1000), i);
        list.push_back(send(i, {a.segment(i * 1000, 500)}));
        list.push_back(write_with_immediate(100 + i, {a.segment(i * 1000 + 500, 500)}, b.remote(32768 + i * 500), i));
    }
    post(a, std::move(list));
    for (std::uint32_t i = 0; i != 16; ++i) {
        home.run_for(1ms);
        b.receive(2 * i, i * 1000, 1000);
        b.completions->expect_success(2 * i, completion_opcode::receive);
        b.receive_nothing(2 * i + 1);
        const auto told = b.completions->expect_success(2 * i + 1, completion_opcode::receive_write_immediate);
        expect_equal("immediate value", told.immediate_data, i);
        a.completions->expect_success(i, completion_opcode::send);
        a.completions->expect_success(100 + i, completion_opcode::write);
        expect(std::memcmp(b.buffer.at(i * 1000), a.buffer.at(i * 1000), 500) == 0, "the bytes sent");
        expect(std::memcmp(b.buffer.at(32768 + i * 500), a.buffer.at(i * 1000 + 500), 500) == 0, "the bytes written");
    }
}

// What is behind the waiting message waits too; the other direction does not.
void waiting_send_blocks_what_follows(world& home)
{
    linked ends(home, retrying(7), retrying(7));
    auto& [a, b] = ends;
    fill_with(a.bytes(0, 64), std::byte{1});
    post(a, {send(1, {a.segment(0, 64)}), write(2, {a.segment(0, 64)}, b.remote(1000))});
    a.receive_nothing(8);
    post(b, {send(3, {}), write(4, {b.segment(0, 8)}, a.remote(4000))});
    a.completions->expect_success(8, completion_opcode::receive);
    b.completions->expect_success(3, completion_opcode::send);
    b.completions->expect_success(4, completion_opcode::write);
    home.run_for(20ms);
    expect(a.completions->told.empty(), "neither the send nor the write behind it completes");
    expect_filled_with(b.bytes(1000, 64), std::byte{0});
    b.receive(7, 0, 64);
    a.completions->expect_success(1, completion_opcode::send);
    a.completions->expect_success(2, completion_opcode::write);
    expect_filled_with(b.bytes(1000, 64), std::byte{1});
}

void expect_gives_up(world& home, std::uint8_t count, work item)
{
    linked ends(home, retrying(count), {});
    auto& a = ends.a;
    a.receive_nothing(900);
    item.request.id = 1;
    if (item.request.operation == opcode::write_with_immediate)
        item.request.remote = ends.b.remote(0);
    post(a, {item, send(2, {})});
    a.completions->expect_failure(1, completion_status::receiver_not_ready_retry_exceeded);
    for (int i = 0; i != 2; ++i)
        expect_equal("status", a.completions->next("a flushed request").status, completion_status::flushed);
    a.expect_in_error();
}

void gives_up_after_retries(world& home)
{
    expect_gives_up(home, 2, send(1, {}));
}
void gives_up_at_once(world& home)
{
    expect_gives_up(home, 0, send(1, {}));
}
void write_with_immediate_gives_up(world& home)
{
    expect_gives_up(home, 1, write_with_immediate(1, {}, {}, 1));
}

void longer_than_the_message(linked& ends)
{
    auto& [a, b] = ends;
    fill(a.bytes(0, 10), 1);
    fill_with(b.bytes(0, 1000), std::byte{0x42});
    b.receive(7, 0, 1000);
    post(a, {send(1, {a.segment(0, 10)})});
    expect_equal("bytes", b.completions->expect_success(7, completion_opcode::receive).byte_count, 10U);
    a.completions->expect_success(1, completion_opcode::send);
    expect_pattern(b.bytes(0, 10), 1);
    expect_filled_with(b.bytes(10, 990), std::byte{0x42});
}

/// The receive fails with `at_receiver`, the send with `at_sender`, both queue pairs are in ERROR.
void expect_receive_fails(linked& ends, std::size_t length, completion_status at_receiver, completion_status at_sender,
    const where& place = where::current())
{
    auto& [a, b] = ends;
    b.receive_nothing(8);
    a.receive_nothing(9);
    post(a, {send(1, {a.segment(0, length)}), send(2, {})}, place);
    const auto failed = b.completions->next("the failed receive", place);
    expect_equal("id of the failed receive", failed.id, 7U, place);
    expect_equal("status of the failed receive", failed.status, at_receiver, place);
    b.completions->expect_failure(8, completion_status::flushed, place);
    a.completions->expect_failure(1, at_sender, place);
    for (int i = 0; i != 2; ++i)
        expect_equal(
            "status", a.completions->next("a flushed request", place).status, completion_status::flushed, place);
    a.expect_in_error(place);
    b.expect_in_error(place);
}

completion_status too_short(const world& home)
{
    return home.supports(capability::error_status_exact) ? completion_status::local_length_error
                                                         : completion_status::local_queue_pair_operation_error;
}

completion_status no_right(const world& home)
{
    return home.supports(capability::error_status_exact) ? completion_status::local_protection_error
                                                         : completion_status::local_queue_pair_operation_error;
}

completion_status sent_too_long(const world& home)
{
    return home.supports(capability::error_status_exact) ? completion_status::remote_invalid_request
                                                         : completion_status::remote_operation_error;
}

void one_byte_too_short(linked& ends)
{
    auto& b = ends.b;
    fill_with(b.buffer.bytes(), std::byte{0x42});
    b.receive(7, 0, 99);
    expect_receive_fails(ends, 100, too_short(ends.a.home), sent_too_long(ends.a.home));
    expect_filled_with(b.bytes(99, 1000), std::byte{0x42});
}

void long_message_too_short(linked& ends)
{
    auto& b = ends.b;
    fill_with(b.buffer.bytes(), std::byte{0x42});
    b.receive(7, 0, 20000);
    expect_receive_fails(ends, 60000, too_short(ends.a.home), sent_too_long(ends.a.home));
    expect_filled_with(b.bytes(20000, 40000), std::byte{0x42});
}

void no_bytes_at_all(linked& ends)
{
    ends.b.receive_nothing(7);
    expect_receive_fails(ends, 1, too_short(ends.a.home), sent_too_long(ends.a.home));
}

void into_region_without_local_write(world& home)
{
    end_options options;
    options.rights = access::remote_read;
    linked ends(home, {}, options);
    fill_with(ends.b.buffer.bytes(), std::byte{0x42});
    ends.b.receive(7, 0, 100);
    expect_receive_fails(ends, 100, no_right(home), completion_status::remote_operation_error);
    expect_filled_with(ends.b.bytes(0, 200), std::byte{0x42});
}

void into_wrong_lkey(linked& ends)
{
    auto& b = ends.b;
    fill_with(b.buffer.bytes(), std::byte{0x42});
    auto piece = b.segment(0, 100);
    piece.lkey ^= 0x00ff00ffU;
    const receive_request request{7, {&piece, 1}};
    expect_success("post_receive", b.pair->post_receive({&request, 1}).error);
    expect_receive_fails(ends, 100, no_right(b.home), completion_status::remote_operation_error);
    expect_filled_with(b.bytes(0, 200), std::byte{0x42});
}

void one_byte_beyond_region(linked& ends)
{
    auto& b = ends.b;
    const local_segment piece{b.buffer.at(64 * 1024 - 99), 100, b.region->lkey()};
    const receive_request request{7, {&piece, 1}};
    expect_success("post_receive", b.pair->post_receive({&request, 1}).error);
    expect_receive_fails(ends, 100, no_right(b.home), completion_status::remote_operation_error);
}

// The bytes go where the write says, so the receive's segments are not looked at.
void unused_segments_of_write_with_immediate(linked& ends)
{
    auto& [a, b] = ends;
    auto piece = b.segment(0, 100);
    piece.lkey ^= 0x00ff00ffU;
    const receive_request request{7, {&piece, 1}};
    expect_success("post_receive", b.pair->post_receive({&request, 1}).error);
    post(a, {write_with_immediate(1, {a.segment(0, 64)}, b.remote(0), 9)});
    b.completions->expect_success(7, completion_opcode::receive_write_immediate);
    a.completions->expect_success(1, completion_opcode::write);
}

constexpr conformance_case cases[] = {
    {"receive/late_receive_is_filled", late_receive_is_filled},
    {"receive/late_receives_keep_order", late_receives_keep_order},
    {"receive/waiting_send_blocks_what_follows", waiting_send_blocks_what_follows},
    {"receive/gives_up_after_retries", gives_up_after_retries},
    {"receive/gives_up_at_once", gives_up_at_once},
    {"receive/write_with_immediate_gives_up", write_with_immediate_gives_up},
    {"receive/longer_than_the_message", longer_than_the_message},
    {"receive/one_byte_too_short", one_byte_too_short},
    {"receive/long_message_too_short", long_message_too_short},
    {"receive/no_bytes_at_all", no_bytes_at_all},
    {"receive/into_region_without_local_write", into_region_without_local_write},
    {"receive/into_wrong_lkey", into_wrong_lkey},
    {"receive/one_byte_beyond_region", one_byte_beyond_region},
    {"receive/unused_segments_of_write_with_immediate", unused_segments_of_write_with_immediate},
};

} // namespace

case_table receive_cases()
{
    return cases;
}

} // namespace penstock::conformance
