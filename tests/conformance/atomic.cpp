// Compare and swap, fetch and add.

#include "conformance/suite.hpp"

#include <array>

namespace penstock::conformance {

namespace {

void fetch_add_returns_old(linked& ends)
{
    auto& [a, b] = ends;
    store_u64(b.buffer.at(64), 1000);
    post(a, {fetch_add(1, a.segment(8, 8), b.remote(64), 7)});
    const auto done = a.completions->expect_success(1, completion_opcode::fetch_add);
    expect_equal("bytes", done.byte_count, 8U);
    expect_equal("old value", load_u64(a.buffer.at(8)), 1000U);
    expect_equal("new value", load_u64(b.buffer.at(64)), 1007U);
}

void fetch_add_wraps(linked& ends)
{
    auto& [a, b] = ends;
    store_u64(b.buffer.at(0), ~std::uint64_t{0} - 2);
    post(a, {fetch_add(1, a.segment(0, 8), b.remote(0), 5), fetch_add(2, a.segment(8, 8), b.remote(0), 0)});
    a.completions->expect_success(1, completion_opcode::fetch_add);
    a.completions->expect_success(2, completion_opcode::fetch_add);
    expect_equal("old value", load_u64(a.buffer.at(0)), ~std::uint64_t{0} - 2);
    expect_equal("value after the wrap", load_u64(a.buffer.at(8)), 2U);
    expect_equal("the neighbour", load_u64(b.buffer.at(8)), 0U);
}

void compare_swap_matches(linked& ends)
{
    auto& [a, b] = ends;
    store_u64(b.buffer.at(128), 0x1122334455667788U);
    post(a, {compare_swap(1, a.segment(0, 8), b.remote(128), 0x1122334455667788U, 0x99aabbccddeeff00U)});
    const auto done = a.completions->expect_success(1, completion_opcode::compare_swap);
    expect_equal("bytes", done.byte_count, 8U);
    expect_equal("old value", load_u64(a.buffer.at(0)), 0x1122334455667788U);
    expect_equal("new value", load_u64(b.buffer.at(128)), 0x99aabbccddeeff00U);
}

void compare_swap_differs(linked& ends)
{
    auto& [a, b] = ends;
    store_u64(b.buffer.at(128), 41);
    post(a, {compare_swap(1, a.segment(0, 8), b.remote(128), 42, 43)});
    a.completions->expect_success(1, completion_opcode::compare_swap);
    expect_equal("old value", load_u64(a.buffer.at(0)), 41U);
    expect_equal("value", load_u64(b.buffer.at(128)), 41U);
}

// At the local side nothing need be aligned.
void lands_unaligned(linked& ends)
{
    auto& [a, b] = ends;
    store_u64(b.buffer.at(8), 77);
    post(a, {fetch_add(1, a.segment(13, 8), b.remote(8), 1)});
    a.completions->expect_success(1, completion_opcode::fetch_add);
    expect_equal("old value", load_u64(a.buffer.at(13)), 77U);
}

void chain_sees_itself(linked& ends)
{
    auto& [a, b] = ends;
    store_u64(b.buffer.at(0), 0);
    std::vector<work> chain;
    for (std::uint64_t i = 0; i != 32; ++i)
        chain.push_back(compare_swap(i, a.segment(i * 8, 8), b.remote(0), i, i + 1));
    post(a, std::move(chain));
    for (std::uint64_t i = 0; i != 32; ++i) {
        a.completions->expect_success(i, completion_opcode::compare_swap);
        expect_equal("old value", load_u64(a.buffer.at(i * 8)), i);
    }
    expect_equal("value", load_u64(b.buffer.at(0)), 32U);
}

// Each addition is seen once: the old values are a permutation of 0..n-1, and the sum is there.
void from_two_queue_pairs_add_up(world& home)
{
    constexpr std::size_t each = 200;
    end_options options;
    options.send_depth = each;
    options.completion_depth = 512;
    linked first(home, options);
    linked second(home, options);
    const auto counter = first.b.remote(256);
    store_u64(first.b.buffer.at(256), 0);
    // The second pair reaches the same memory by a key of the same domain.
    for (std::size_t i = 0; i != each; ++i) {
        post(first.a, {fetch_add(i, first.a.segment(i * 8, 8), counter, 1)});
        post(second.a, {fetch_add(i, second.a.segment(i * 8, 8), counter, 1)});
    }
    std::vector<int> seen(2 * each);
    for (auto* ends : {&first, &second})
        for (std::size_t i = 0; i != each; ++i) {
            ends->a.completions->expect_success(i, completion_opcode::fetch_add);
            const auto old = load_u64(ends->a.buffer.at(i * 8));
            expect(old < 2 * each, "an old value below the sum");
            expect(seen.at(old)++ == 0, "each old value once");
        }
    expect_equal("sum", load_u64(first.b.buffer.at(256)), 2 * each);
}

void wrong_length_is_refused(linked& ends)
{
    auto& [a, b] = ends;
    for (const std::size_t length : {0U, 4U, 7U, 9U, 16U}) {
        const auto refused = try_post(*a.pair, {fetch_add(1, a.segment(0, length), b.remote(0), 1)});
        expect_error("an atomic of " + std::to_string(length) + " bytes", refused.error, errc::invalid_argument);
        expect_equal("requests posted", refused.posted, 0U);
    }
    post(a, {fetch_add(2, a.segment(0, 8), b.remote(0), 1)});
    a.completions->expect_success(2, completion_opcode::fetch_add);
}

constexpr conformance_case cases[] = {
    {"atomic/fetch_add_returns_old", fetch_add_returns_old},
    {"atomic/fetch_add_wraps", fetch_add_wraps},
    {"atomic/compare_swap_matches", compare_swap_matches},
    {"atomic/compare_swap_differs", compare_swap_differs},
    {"atomic/lands_unaligned", lands_unaligned},
    {"atomic/chain_sees_itself", chain_sees_itself},
    {"atomic/from_two_queue_pairs_add_up", from_two_queue_pairs_add_up},
    {"atomic/wrong_length_is_refused", wrong_length_is_refused},
};

} // namespace

case_table atomic_cases()
{
    return cases;
}

} // namespace penstock::conformance
