#pragma once

// Sizes and rates as people write and read them.

#include <penstock/core/error.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace penstock {

/// Bytes meant by a text such as "4096", "64KiB", "1.5 GiB" or "2MB".
///
/// Binary units are KiB, MiB, GiB, TiB, PiB (powers of 1024), decimal ones kB, MB, GB, TB, PB (powers of 1000), and B. A
/// bare "K" or "M" is refused because it is read both ways. Case matters only where it decides ("mib" is MiB, "kb" is
/// refused: bits or bytes?). One space may stand before the unit. A fraction needs a unit and at most nine digits; what is
/// less than a byte is dropped.
///
/// *Errors.* `errc::invalid_argument`: not such a text. `errc::out_of_range`: 2^64 bytes or more.
result<std::uint64_t> parse_byte_size(std::string_view text) noexcept;

/// `bytes` in the largest binary unit that it fills, to at most two decimals: "0B", "4KiB", "1.5MiB", "1.33GiB".
///
/// Exact, so that `parse_byte_size` gives `bytes` back, whenever two decimals are enough.
std::string format_byte_size(std::uint64_t bytes);

/// A data rate in decimal units, as network equipment states it, to three significant digits: "85.3MB/s", "1.25GB/s".
///
/// `bytes_per_second` that is negative or not finite gives "?B/s".
std::string format_byte_rate(double bytes_per_second);

inline namespace literals {

consteval std::uint64_t operator""_KiB(unsigned long long count)
{
    return count << 10;
}

consteval std::uint64_t operator""_MiB(unsigned long long count)
{
    return count << 20;
}

consteval std::uint64_t operator""_GiB(unsigned long long count)
{
    return count << 30;
}

} // namespace literals

} // namespace penstock
