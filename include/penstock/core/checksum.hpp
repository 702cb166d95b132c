#pragma once

// CRC32C (Castagnoli, as in iSCSI and NVMe): the checksum that every stored extent carries from end to end.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace penstock {

/// The CRC32C of `data`; of the ASCII text "123456789" it is 0xe3069283.
///
/// `seed` is the CRC32C of what came before: `crc32c(b, crc32c(a)) == crc32c(ab)`. Of nothing it is `seed`.
/// *Threads.* Any.
/// *Allocation.* None.
std::uint32_t crc32c(std::span<const std::byte> data, std::uint32_t seed = 0) noexcept;

/// The CRC32C of `ab`, from those of `a` and `b` and the length of `b` in bytes, without the data.
///
/// *Cost.* Some 30 ns for each bit set in `length_b`; at most 64 of them.
std::uint32_t crc32c_combine(std::uint32_t crc_a, std::uint32_t crc_b, std::uint64_t length_b) noexcept;

/// How fast one implementation was when it was tried.
struct crc32c_measurement {
    std::string_view name;       ///< "isa-l", "software"
    double bytes_per_second = 0; ///< the best of a few runs over one buffer that fits the cache
    bool correct = false;        ///< it gave the same value as the reference, byte by byte
};

/// Which implementation `crc32c` uses, and why.
struct crc32c_report {
    std::string_view name;
    std::string_view reason; ///< one sentence for the log
    std::array<crc32c_measurement, 2> measured;
};

/// The choice, made by measuring at the first use of `crc32c` or of this function.
///
/// The processor's crc32 instruction is not always the fastest: under emulation it is called out of line. The first call
/// takes tens of microseconds on hardware and a few milliseconds under emulation; a program that minds calls it at start.
/// *Threads.* Any.
const crc32c_report& crc32c_implementation() noexcept;

} // namespace penstock
