#pragma once

// What travels on the control lane, decoded.

#include "handshake.hpp"

#include <penstock/connection/connection.hpp>

namespace penstock::connection {

enum class control_type : std::uint8_t { hello = 1, welcome, refused, revoke = 16, released };

/// A message between the layers above: what it says is theirs.
struct control_note {
    control_kind kind{};
    std::span<const std::byte> payload{}; ///< at most control_payload_max; of a decoded one, part of the message
};
std::size_t encode(const control_note& message, std::span<std::byte> into) noexcept;

struct control_message {
    control_type type{};
    hello opening;     ///< of a hello
    welcome answer;    ///< of a welcome
    error_code why;    ///< of a refused: is_refusal
    control_note note; ///< of a revoke, of a released
};

/// `message` is the whole message. Errors: bad_magic, unsupported_version, malformed_message.
result<control_message> decode_control(std::span<const std::byte> message);

/// The codes a server refuses a connection with.
inline bool is_refusal(const error_code& why) noexcept
{
    return why == errc::remote_refused_feature || why == errc::too_many_connections || why == errc::overloaded
        || why == errc::unsupported_version;
}

} // namespace penstock::connection
