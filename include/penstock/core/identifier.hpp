#pragma once

// 128-bit identifiers: client instances, server incarnations, sessions.

#include <penstock/core/error.hpp>
#include <penstock/core/random.hpp>

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace penstock {

/// 128 bits, compared and sent byte by byte. The all-zero value means "none" and is never generated.
struct identifier {
    std::array<std::byte, 16> bytes{};

    friend auto operator<=>(const identifier&, const identifier&) = default; // NOLINT(modernize-use-nullptr): none here

    /// Not the all-zero value.
    explicit operator bool() const noexcept { return *this != identifier{}; }
};

/// A new identifier; two are equal with negligible probability if `source` is the system's.
identifier make_identifier(random_source& source) noexcept;

/// 32 lower-case hexadecimal digits, first byte first.
std::string to_string(const identifier& id);

/// The inverse of `to_string`; digits of either case.
///
/// *Errors.* `errc::invalid_argument`: not exactly 32 hexadecimal digits.
result<identifier> parse_identifier(std::string_view text) noexcept;

/// For Boost's hash containers. Not keyed: containers whose keys a peer chooses need a bound on their size.
std::size_t hash_value(const identifier& id) noexcept;

} // namespace penstock
