// Writes and reads: lengths, segments, immediate data, and that nothing but the bytes meant is touched.

#include "conformance/suite.hpp"

#include <algorithm>
#include <cstring>

namespace penstock::conformance {

namespace {

constexpr std::byte untouched{0xa7};

void write_between_guards(linked& ends, std::size_t from, std::size_t to, std::size_t length)
{
    auto& [a, b] = ends;
    fill(a.bytes(from, length), 21);
    fill_with(b.buffer.bytes(), untouched);
    post(a, {write(1, {a.segment(from, length)}, b.remote(to))});
    a.completions->expect_success(1, completion_opcode::write);
    expect_pattern(b.bytes(to, length), 21);
    expect_filled_with(b.bytes(0, to), untouched);
    expect_filled_with(b.bytes(to + length, b.buffer.bytes().size() - to - length), untouched);
    expect(b.completions->told.empty(), "a write without immediate data is silent at the target");
}

void read_between_guards(linked& ends, std::size_t from, std::size_t to, std::size_t length)
{
    auto& [a, b] = ends;
    fill(b.bytes(from, length), 22);
    fill_with(a.buffer.bytes(), untouched);
    post(a, {read(1, {a.segment(to, length)}, b.remote(from))});
    const auto done = a.completions->expect_success(1, completion_opcode::read);
    expect_equal("bytes read", done.byte_count, length);
    expect_pattern(a.bytes(to, length), 22);
    expect_filled_with(a.bytes(0, to), untouched);
    expect_filled_with(a.bytes(to + length, a.buffer.bytes().size() - to - length), untouched);
}

void write_small(linked& ends)
{
    write_between_guards(ends, 0, 0, 64);
}
void write_unaligned(linked& ends)
{
    write_between_guards(ends, 5, 4095, 4099);
}
void write_whole_region(linked& ends)
{
    write_between_guards(ends, 0, 0, 64 * 1024);
}
void read_small(linked& ends)
{
    read_between_guards(ends, 0, 0, 64);
}
void read_unaligned(linked& ends)
{
    read_between_guards(ends, 4095, 7, 4099);
}
void read_whole_region(linked& ends)
{
    read_between_guards(ends, 0, 0, 64 * 1024);
}

void every_length_around_packets(linked& ends)
{
    for (const std::size_t edge : {256U, 1024U, 2048U, 4096U, 8192U})
        for (const std::size_t length : {edge - 1, edge, edge + 1}) {
            write_between_guards(ends, 1, 2, length);
            read_between_guards(ends, 3, 1, length);
        }
}

void write_zero_length(linked& ends)
{
    auto& [a, b] = ends;
    fill_with(b.bytes(0, 64), untouched);
    post(a, {write(1, {}, b.remote(0)), write(2, {a.segment(0, 0)}, b.remote(64))});
    a.completions->expect_success(1, completion_opcode::write);
    a.completions->expect_success(2, completion_opcode::write);
    expect_filled_with(b.bytes(0, 64), untouched);
}

void read_zero_length(linked& ends)
{
    auto& [a, b] = ends;
    post(a, {read(1, {}, b.remote(0)), read(2, {a.segment(0, 0)}, b.remote(64))});
    expect_equal("bytes read", a.completions->expect_success(1, completion_opcode::read).byte_count, 0U);
    expect_equal("bytes read", a.completions->expect_success(2, completion_opcode::read).byte_count, 0U);
}

// The specification has the responder check no key for a request without bytes (C9-88).
void zero_length_checks_no_key(linked& ends)
{
    auto& [a, b] = ends;
    const remote_segment nowhere{1, 0x0badbad0U};
    post(a, {write(1, {}, nowhere), read(2, {}, nowhere)});
    a.completions->expect_success(1, completion_opcode::write);
    a.completions->expect_success(2, completion_opcode::read);
    a.expect_ready();
    b.expect_ready();
}

void write_gathers(linked& ends)
{
    auto& [a, b] = ends;
    fill(a.bytes(0, 5000), 23);
    post(a, {write(1, {a.segment(0, 1), a.segment(1, 0), a.segment(1, 4098), a.segment(4099, 901)}, b.remote(333))});
    a.completions->expect_success(1, completion_opcode::write);
    expect_pattern(b.bytes(333, 5000), 23);
}

void read_scatters(linked& ends)
{
    auto& [a, b] = ends;
    fill(b.bytes(0, 5000), 24);
    fill_with(a.buffer.bytes(), untouched);
    post(a, {read(1, {a.segment(10000, 1), a.segment(0, 0), a.segment(20000, 4098), a.segment(0, 901)}, b.remote(0))});
    expect_equal("bytes read", a.completions->expect_success(1, completion_opcode::read).byte_count, 5000U);
    expect(std::memcmp(a.buffer.at(10000), b.buffer.at(0), 1) == 0, "first segment");
    expect(std::memcmp(a.buffer.at(20000), b.buffer.at(1), 4098) == 0, "second segment");
    expect(std::memcmp(a.buffer.at(0), b.buffer.at(4099), 901) == 0, "third segment");
    expect_filled_with(a.bytes(901, 9000), untouched);
    expect_filled_with(a.bytes(10001, 9000), untouched);
}

void write_with_immediate_carries_both(linked& ends)
{
    auto& [a, b] = ends;
    fill(a.bytes(0, 3000), 25);
    fill_with(b.buffer.bytes(), untouched);
    b.receive(7, 60000, 100); // consumed, its bytes are not
    post(a, {write_with_immediate(1, {a.segment(0, 3000)}, b.remote(50), 0xfeedf00dU)});
    const auto told = b.completions->expect_success(7, completion_opcode::receive_write_immediate);
    expect(told.has_immediate, "the completion has an immediate value");
    expect_equal("immediate value", told.immediate_data, 0xfeedf00dU);
    expect_equal("bytes written", told.byte_count, 3000U);
    expect_pattern(b.bytes(50, 3000), 25);
    expect_filled_with(b.bytes(60000, 100), untouched);
    a.completions->expect_success(1, completion_opcode::write);
}

void write_with_immediate_without_bytes(linked& ends)
{
    auto& [a, b] = ends;
    b.receive_nothing(7);
    b.receive_nothing(8);
    post(a, {write_with_immediate(1, {}, {}, 1), write_with_immediate(2, {}, b.remote(0), 2)});
    for (const std::uint32_t i : {1U, 2U}) {
        const auto told = b.completions->expect_success(6 + i, completion_opcode::receive_write_immediate);
        expect_equal("immediate value", told.immediate_data, i);
        expect_equal("bytes written", told.byte_count, 0U);
        a.completions->expect_success(i, completion_opcode::write);
    }
}

void largest(world& home)
{
    const auto length
        = static_cast<std::size_t>(std::min<std::uint64_t>(home.near.hardware->limits().message_bytes_max, 64U << 20U));
    end_options options;
    options.buffer_bytes = length;
    linked ends(home, options, options);
    auto& [a, b] = ends;
    fill(a.buffer.bytes(), 26);
    post(a, {write(1, {a.segment(0, length)}, b.remote(0))});
    a.completions->expect_success(1, completion_opcode::write);
    expect_pattern(b.buffer.bytes(), 26);
    fill(b.buffer.bytes(), 27);
    post(a, {read(2, {a.segment(0, length)}, b.remote(0))});
    expect_equal("bytes read", a.completions->expect_success(2, completion_opcode::read).byte_count, length);
    expect_pattern(a.buffer.bytes(), 27);
}

// Both sides work on each other's memory; neither has a receive or knows of the other's work.
void both_directions(linked& ends)
{
    auto& [a, b] = ends;
    fill(a.bytes(0, 16384), 31);
    fill(b.bytes(0, 16384), 32);
    for (std::uint64_t i = 0; i != 16; ++i) {
        post(a, {write(i, {a.segment(i * 1024, 1024)}, b.remote(16384 + i * 1024))});
        post(b,
            {read(i, {b.segment(32768 + i * 1024, 1024)}, a.remote(i * 1024)),
                write(100 + i, {b.segment(i * 1024, 1024)}, a.remote(16384 + i * 1024))});
    }
    for (std::uint64_t i = 0; i != 16; ++i) {
        a.completions->expect_success(i, completion_opcode::write);
        b.completions->expect_success(i, completion_opcode::read);
        b.completions->expect_success(100 + i, completion_opcode::write);
    }
    expect_pattern(b.bytes(16384, 16384), 31);
    expect_pattern(b.bytes(32768, 16384), 31);
    expect_pattern(a.bytes(16384, 16384), 32);
}

// One device, one domain, and the peer's memory is the same buffer.
void within_one_region(world& home)
{
    end a(home, home.far);
    end b(home, home.far);
    connect(home, a, b);
    fill(a.bytes(0, 5000), 33);
    post(a, {write(1, {a.segment(0, 5000)}, a.remote(10000)), read(2, {a.segment(20000, 5000)}, a.remote(10000))});
    a.completions->expect_success(1, completion_opcode::write);
    a.completions->expect_success(2, completion_opcode::read);
    expect_pattern(a.bytes(20000, 5000), 33);
}

constexpr conformance_case cases[] = {
    {"write/small", write_small},
    {"write/unaligned", write_unaligned},
    {"write/whole_region", write_whole_region},
    {"write/zero_length", write_zero_length},
    {"write/gathers", write_gathers},
    {"write_with_immediate/carries_both", write_with_immediate_carries_both},
    {"write_with_immediate/without_bytes", write_with_immediate_without_bytes},
    {"read/small", read_small},
    {"read/unaligned", read_unaligned},
    {"read/whole_region", read_whole_region},
    {"read/zero_length", read_zero_length},
    {"read/scatters", read_scatters},
    {"one_sided/every_length_around_packets", every_length_around_packets},
    {"one_sided/zero_length_checks_no_key", zero_length_checks_no_key},
    {"one_sided/largest", largest},
    {"one_sided/both_directions", both_directions},
    {"one_sided/within_one_region", within_one_region},
};

} // namespace

case_table one_sided_cases()
{
    return cases;
}

} // namespace penstock::conformance
