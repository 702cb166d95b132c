#include <penstock/core/checksum.hpp>

#include "core/checksum_implementations.hpp"

#include <algorithm>
#include <limits>

#include <isa-l/crc.h>

namespace penstock {
namespace detail {

std::uint32_t crc32c_isal(std::span<const std::byte> data, std::uint32_t seed) noexcept
{
    // ISA-L's length is an int, and it takes and returns the register as it is, without the inversions of CRC32C. It only
    // reads, though its parameter is not const.
    constexpr std::size_t piece_bytes_max = std::size_t{1} << 30;
    static_assert(piece_bytes_max <= std::numeric_limits<int>::max());
    std::uint32_t crc_register = ~seed;
    while (!data.empty()) {
        const auto piece = data.first(std::min(data.size(), piece_bytes_max));
        auto* bytes = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(piece.data()));
        crc_register = crc32_iscsi(bytes, static_cast<int>(piece.size()), crc_register);
        data = data.subspan(piece.size());
    }
    return ~crc_register;
}

namespace {

constexpr std::size_t sample_bytes = 4 * 1024;
constexpr int runs = 4; // the first warms caches and branch predictors

using sample = std::array<std::byte, sample_bytes>;

crc32c_measurement measure(
    clock& time, const crc32c_candidate& candidate, const sample& data, std::uint32_t expected) noexcept
{
    crc32c_measurement measured{candidate.name, 0, true};
    duration best = duration::max();
    for (int run = 0; run != runs; ++run) {
        const auto start = time.now();
        const std::uint32_t value = candidate.function(data, 0);
        const auto end = time.now();
        best = std::min(best, std::max(duration(1), end - start));
        measured.correct = measured.correct && value == expected;
    }
    measured.bytes_per_second = static_cast<double>(sample_bytes) / std::chrono::duration<double>(best).count();
    return measured;
}

const crc32c_choice& chosen() noexcept
{
    static const crc32c_choice choice
        = choose_crc32c(system_clock_source(), {{{"isa-l", crc32c_isal}, {"software", crc32c_software}}});
    return choice;
}

} // namespace

crc32c_choice choose_crc32c(clock& time, const std::array<crc32c_candidate, 2>& candidates) noexcept
{
    sample data;
    std::uint32_t word = 1;
    for (auto& byte : data) {
        word = word * 1'664'525 + 1'013'904'223;
        byte = static_cast<std::byte>(word >> 24);
    }
    const std::uint32_t expected = crc32c_reference(data, 0);

    crc32c_choice choice;
    auto& measured = choice.report.measured;
    for (std::size_t i = 0; i != candidates.size(); ++i)
        measured[i] = measure(time, candidates[i], data, expected);

    if (!measured[0].correct && !measured[1].correct) {
        choice.function = crc32c_reference;
        choice.report.name = "reference";
        choice.report.reason = "every faster implementation gave a wrong value on this machine";
        return choice;
    }
    std::size_t winner = measured[0].bytes_per_second >= measured[1].bytes_per_second ? 0 : 1;
    choice.report.reason = "measured to be the fastest on this machine";
    if (!measured[winner].correct) {
        winner = 1 - winner;
        choice.report.reason = "the faster implementation gave a wrong value on this machine";
    }
    choice.function = candidates[winner].function;
    choice.report.name = candidates[winner].name;
    return choice;
}

} // namespace detail

std::uint32_t crc32c(std::span<const std::byte> data, std::uint32_t seed) noexcept
{
    return detail::chosen().function(data, seed);
}

const crc32c_report& crc32c_implementation() noexcept
{
    return detail::chosen().report;
}

} // namespace penstock
