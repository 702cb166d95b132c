#pragma once

// What travels on the control lane, decoded.

#include "handshake.hpp"

namespace penstock::connection {

enum class control_type : std::uint8_t { hello = 1, welcome, refused };

struct control_message {
    control_type type{};
    hello opening;  ///< of a hello
    welcome answer; ///< of a welcome
    error_code why; ///< of a refused: is_refusal
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
