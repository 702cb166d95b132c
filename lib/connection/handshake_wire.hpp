#pragma once

// What travels on the control lane, decoded.

#include "handshake.hpp"

#include <penstock/connection/connection.hpp>

namespace penstock::connection {

enum class control_type : std::uint8_t {
    hello = 1,
    welcome,
    refused,
    lane_request,
    lane_grant,
    lane_denied,
    ping,
    pong,
    goodbye,
    revoke = 16,
    released,
};

/// A message between the layers above: what it says is theirs.
struct control_note {
    control_kind kind{};
    std::span<const std::byte> payload{}; ///< at most control_payload_max; of a decoded one, part of the message
};

/// The client wants to open this lane again.
struct lane_request {
    std::uint16_t lane = 0;
};

/// The answer: its ticket's secret. The old lane is fenced at the server.
struct lane_grant {
    std::uint16_t lane = 0;
    identifier secret{};
};

/// The other answer: not now.
struct lane_denied {
    std::uint16_t lane = 0;
};

struct ping {};
struct pong {};
struct goodbye {}; ///< the connection ends in order

std::size_t encode(const control_note& message, std::span<std::byte> into) noexcept;
std::size_t encode(const lane_request& message, std::span<std::byte> into) noexcept;
std::size_t encode(const lane_grant& message, std::span<std::byte> into) noexcept;
std::size_t encode(const lane_denied& message, std::span<std::byte> into) noexcept;
std::size_t encode(const ping& message, std::span<std::byte> into) noexcept;
std::size_t encode(const pong& message, std::span<std::byte> into) noexcept;
std::size_t encode(const goodbye& message, std::span<std::byte> into) noexcept;

struct control_message {
    control_type type{};
    hello opening;          ///< of a hello
    welcome answer;         ///< of a welcome
    error_code why;         ///< of a refused: is_refusal
    std::uint16_t lane = 0; ///< of a lane_request, a lane_grant, a lane_denied: below lanes_max
    identifier secret{};    ///< of a lane_grant
    control_note note;      ///< of a revoke, of a released
};

/// `message` is the whole message. A hello of a later version that says it can speak this one is read as one of this version.
/// Errors: bad_magic, unsupported_version, malformed_message.
result<control_message> decode_control(std::span<const std::byte> message);

/// The codes a server refuses a connection with.
inline bool is_refusal(const error_code& why) noexcept
{
    return why == errc::remote_refused_feature || why == errc::too_many_connections || why == errc::overloaded
        || why == errc::unsupported_version;
}

} // namespace penstock::connection
