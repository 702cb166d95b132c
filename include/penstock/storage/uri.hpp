#pragma once

// penstock://HOST[:PORT]/NAME

#include <penstock/core/error.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace penstock::storage {

inline constexpr std::uint16_t default_port = 7471;

/// Where an object or directory is.
struct uri {
    std::string host; ///< a name or a numeric address; IPv6 without its brackets
    std::uint16_t port = default_port;
    std::string name;             ///< without the leading '/', percent-decoded; may be empty
    bool names_directory = false; ///< it ended in '/' (or had no name)
};

/// Errors: invalid_argument (not the scheme, no host or a character no host has, a port outside 1-65535, a bad percent
/// escape, a bare '?' or '#': in a name they are %3F and %23).
/// The name is not checked here: is_valid_name does that. A host's letters are kept as they are.
result<uri> parse_uri(std::string_view text);

/// The text that parse_uri reads, with what needs it percent-encoded.
std::string to_string(const uri& where);

} // namespace penstock::storage
