#pragma once

// The implementations of CRC32C and the choice between them; for checksum.cpp and its tests.

#include <penstock/core/checksum.hpp>
#include <penstock/core/clock.hpp>

namespace penstock::detail {

/// As `crc32c`.
using crc32c_function = std::uint32_t (*)(std::span<const std::byte> data, std::uint32_t seed) noexcept;

/// One byte at a time: the reference that the others are compared with.
std::uint32_t crc32c_reference(std::span<const std::byte> data, std::uint32_t seed) noexcept;

/// Portable, sixteen bytes at a time by tables.
std::uint32_t crc32c_software(std::span<const std::byte> data, std::uint32_t seed) noexcept;

/// ISA-L: the crc32 and carry-less multiplication instructions where the processor has them.
std::uint32_t crc32c_isal(std::span<const std::byte> data, std::uint32_t seed) noexcept;

struct crc32c_candidate {
    std::string_view name;
    crc32c_function function = nullptr;
};

struct crc32c_choice {
    crc32c_function function = nullptr;
    crc32c_report report;
};

/// Tries both on a buffer of a few KiB and takes the faster of those that are correct. If neither is, the reference.
crc32c_choice choose_crc32c(clock& time, const std::array<crc32c_candidate, 2>& candidates) noexcept;

} // namespace penstock::detail
