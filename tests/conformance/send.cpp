// Sends: lengths, segments, immediate data, inline.

#include "conformance/suite.hpp"

#include <cstring>

namespace penstock::conformance {

namespace {

void exchange(linked& ends, std::size_t from, std::size_t to, std::size_t length)
{
    fill(ends.a.bytes(from, length), 3);
    ends.b.receive(7, to, length);
    post(ends.a, {send(1, {ends.a.segment(from, length)})});
    const auto received = ends.b.completions->expect_success(7, completion_opcode::receive);
    expect_equal("bytes received", received.byte_count, length);
    expect(!received.has_immediate, "a plain send carries no immediate value");
    expect(!received.has_invalidated_key, "a plain send invalidates no key");
    ends.a.completions->expect_success(1, completion_opcode::send);
    expect_pattern(ends.b.bytes(to, length), 3);
}

void small(linked& ends)
{
    exchange(ends, 0, 0, 64);
}
void unaligned(linked& ends)
{
    fill_with(ends.b.buffer.bytes(), std::byte{0xee});
    exchange(ends, 3, 4093, 1021);
    expect_filled_with(ends.b.bytes(0, 4093), std::byte{0xee});
    expect_filled_with(ends.b.bytes(4093 + 1021, 512), std::byte{0xee});
}
void one_byte(linked& ends)
{
    exchange(ends, 4095, 4095, 1);
}

void every_length_around_packets(linked& ends)
{
    for (const std::size_t edge : {256U, 1024U, 2048U, 4096U, 8192U})
        for (const std::size_t length : {edge - 1, edge, edge + 1})
            exchange(ends, 1, 2, length);
}

void zero_length(linked& ends)
{
    fill_with(ends.b.buffer.bytes(), std::byte{0x5a});
    ends.b.receive(7, 0, 64);
    ends.b.receive_nothing(8);
    post(ends.a, {send(1, {}), send(2, {})});
    for (const std::uint64_t id : {7U, 8U}) {
        const auto received = ends.b.completions->expect_success(id, completion_opcode::receive);
        expect_equal("bytes received", received.byte_count, 0U);
    }
    ends.a.completions->expect_success(1, completion_opcode::send);
    ends.a.completions->expect_success(2, completion_opcode::send);
    expect_filled_with(ends.b.bytes(0, 64), std::byte{0x5a});
}

void zero_length_segment_with_any_key(linked& ends)
{
    ends.b.receive(7, 0, 64);
    post(ends.a, {send(1, {{nullptr, 0, 0xdeadbeefU}})});
    expect_equal("bytes received", ends.b.completions->expect_success(7, completion_opcode::receive).byte_count, 0U);
    ends.a.completions->expect_success(1, completion_opcode::send);
}

void gathers_and_scatters(linked& ends)
{
    auto& [a, b] = ends;
    fill(a.bytes(0, 600), 9);
    const local_segment nothing{nullptr, 0, 0};
    const std::vector<local_segment> into{b.segment(1000, 7), nothing, b.segment(3001, 500), b.segment(0, 93)};
    const receive_request request{7, into};
    expect_success("post_receive", b.pair->post_receive({&request, 1}).error);
    post(a, {send(1, {a.segment(0, 100), nothing, a.segment(100, 499), a.segment(599, 1)})});
    expect_equal("bytes received", b.completions->expect_success(7, completion_opcode::receive).byte_count, 600U);
    a.completions->expect_success(1, completion_opcode::send);
    std::vector<std::byte> joined;
    for (const auto& piece : into)
        joined.insert(joined.end(), piece.address, piece.address + piece.length);
    expect_pattern(joined, 9);
}

void gather_overlapping_segments(linked& ends)
{
    fill(ends.a.bytes(0, 100), 9);
    ends.b.receive(7, 0, 300);
    const auto same = ends.a.segment(0, 100);
    post(ends.a, {send(1, {same, same, same})});
    ends.b.completions->expect_success(7, completion_opcode::receive);
    ends.a.completions->expect_success(1, completion_opcode::send);
    for (const std::size_t start : {0U, 100U, 200U})
        expect_pattern(ends.b.bytes(start, 100), 9);
}

// The first segment is full before the second begins; what the message does not reach keeps its bytes.
void scatter_shorter_than_segments(linked& ends)
{
    auto& [a, b] = ends;
    fill(a.bytes(0, 120), 4);
    fill_with(b.buffer.bytes(), std::byte{0x11});
    const segments into{b.segment(0, 100), b.segment(200, 100), b.segment(400, 100)};
    const receive_request request{7, into};
    expect_success("post_receive", b.pair->post_receive({&request, 1}).error);
    post(a, {send(1, {a.segment(0, 120)})});
    expect_equal("bytes received", b.completions->expect_success(7, completion_opcode::receive).byte_count, 120U);
    a.completions->expect_success(1, completion_opcode::send);
    expect(std::memcmp(b.buffer.at(0), a.buffer.at(0), 100) == 0, "the first segment is full");
    expect(std::memcmp(b.buffer.at(200), a.buffer.at(100), 20) == 0, "the rest is in the second");
    expect_filled_with(b.bytes(220, 80), std::byte{0x11});
    expect_filled_with(b.bytes(400, 100), std::byte{0x11});
}

void immediate(linked& ends)
{
    fill(ends.a.bytes(0, 40), 1);
    ends.b.receive(7, 0, 64);
    ends.b.receive_nothing(8);
    ends.b.receive(9, 64, 64);
    post(ends.a,
        {send_with_immediate(1, {ends.a.segment(0, 40)}, 0x01020304U), send_with_immediate(2, {}, 0U),
            send(3, {ends.a.segment(0, 5)})});
    const auto first = ends.b.completions->expect_success(7, completion_opcode::receive);
    expect(first.has_immediate, "the completion has an immediate value");
    expect_equal("immediate value", first.immediate_data, 0x01020304U);
    expect_equal("bytes received", first.byte_count, 40U);
    const auto second = ends.b.completions->expect_success(8, completion_opcode::receive);
    expect(second.has_immediate, "zero is an immediate value too");
    expect_equal("immediate value", second.immediate_data, 0U);
    const auto third = ends.b.completions->expect_success(9, completion_opcode::receive);
    expect(!third.has_immediate, "a plain send after it has none");
    for (const std::uint64_t id : {1U, 2U, 3U})
        ends.a.completions->expect_success(id, completion_opcode::send);
    expect_pattern(ends.b.bytes(0, 40), 1);
}

void both_directions_at_once(linked& ends)
{
    auto& [a, b] = ends;
    for (std::uint64_t i = 0; i != 32; ++i) {
        a.receive(100 + i, 32768 + i * 512, 512);
        b.receive(100 + i, 32768 + i * 512, 512);
    }
    fill(a.bytes(0, 32 * 512), 5);
    fill(b.bytes(0, 32 * 512), 6);
    for (std::uint64_t i = 0; i != 32; ++i) {
        post(a, {send(i, {a.segment(i * 512, 512)})});
        post(b, {send(i, {b.segment(i * 512, 512)})});
    }
    for (auto* side : {&a, &b}) {
        std::uint64_t sent = 0;
        std::uint64_t received = 100;
        while (sent != 32 || received != 132) {
            const auto completion = side->completions->next("a send or a receive");
            expect_equal("status", completion.status, completion_status::success);
            auto& expected = completion.operation == completion_opcode::receive ? received : sent;
            expect_equal("id", completion.id, expected);
            ++expected;
        }
    }
    expect_pattern(b.bytes(32768, 32 * 512), 5);
    expect_pattern(a.bytes(32768, 32 * 512), 6);
}

void largest_message(world& home)
{
    const auto length
        = static_cast<std::size_t>(std::min<std::uint64_t>(home.near.hardware->limits().message_bytes_max, 64U << 20U));
    end_options options;
    options.buffer_bytes = length;
    linked ends(home, options, options);
    exchange(ends, 0, 0, length);
    ends.a.expect_ready();
    ends.b.expect_ready();
}

void inline_is_copied(world& home)
{
    end_options options;
    options.inline_bytes_max = 64;
    linked ends(home, options);
    auto& [a, b] = ends;
    const auto most = a.pair->inline_bytes_max();
    expect(most >= 64, "the queue pair offers the inline bytes asked for");
    b.receive(7, 0, most);
    fill(a.bytes(0, 64), 8);
    // Keys of inline segments are not looked at.
    const auto& buffer = a.buffer;
    post(a, {send(1, {{buffer.at(0), 40, 0xbad0badU}, {buffer.at(40), 24, 0}}).inlined()});
    fill_with(a.bytes(0, 64), std::byte{0});
    expect_equal("bytes received", b.completions->expect_success(7, completion_opcode::receive).byte_count, 64U);
    a.completions->expect_success(1, completion_opcode::send);
    expect_pattern(b.bytes(0, 64), 8);
}

void inline_write(world& home)
{
    end_options options;
    options.inline_bytes_max = 32;
    linked ends(home, options);
    auto& [a, b] = ends;
    std::vector<std::byte> stack(32); // not registered
    fill(stack, 12);
    b.receive_nothing(7);
    post(a,
        {write(1, {{stack.data(), 32, 0}}, b.remote(100)).inlined(),
            write_with_immediate(2, {{stack.data(), 16, 0}}, b.remote(200), 5).inlined()});
    fill_with(stack, std::byte{0});
    a.completions->expect_success(1, completion_opcode::write);
    a.completions->expect_success(2, completion_opcode::write);
    b.completions->expect_success(7, completion_opcode::receive_write_immediate);
    expect_pattern(b.bytes(100, 32), 12);
    expect_pattern(b.bytes(200, 16), 12);
}

void inline_too_long(world& home)
{
    end_options options;
    options.inline_bytes_max = 16;
    linked ends(home, options);
    auto& a = ends.a;
    const auto most = a.pair->inline_bytes_max();
    const auto refused = try_post(*a.pair, {send(1, {a.segment(0, most + 1U)}).inlined()});
    expect_error("one inline byte too many", refused.error, errc::inline_too_long);
    expect_equal("requests posted", refused.posted, 0U);
    a.expect_ready();
    ends.b.receive(7, 0, most);
    post(a, {send(2, {a.segment(0, most)}).inlined()});
    a.completions->expect_success(2, completion_opcode::send);
}

constexpr conformance_case cases[] = {
    {"send/small", small},
    {"send/one_byte", one_byte},
    {"send/unaligned", unaligned},
    {"send/every_length_around_packets", every_length_around_packets},
    {"send/zero_length", zero_length},
    {"send/zero_length_segment_with_any_key", zero_length_segment_with_any_key},
    {"send/gathers_and_scatters", gathers_and_scatters},
    {"send/gather_overlapping_segments", gather_overlapping_segments},
    {"send/scatter_shorter_than_segments", scatter_shorter_than_segments},
    {"send/immediate", immediate},
    {"send/both_directions_at_once", both_directions_at_once},
    {"send/largest_message", largest_message},
    {"send/inline_is_copied", inline_is_copied},
    {"send/inline_write", inline_write},
    {"send/inline_too_long", inline_too_long},
};

} // namespace

case_table send_cases()
{
    return cases;
}

} // namespace penstock::conformance
