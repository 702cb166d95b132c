#pragma once

// How large the lanes of a connection are, at each side.

#include "handshake.hpp"

#include <penstock/connection/connection.hpp>

namespace penstock::connection {

/// Control messages never fill a peer's window, so its kernel takes them even while its poller stalls: one that does not is dead.
inline constexpr std::chrono::milliseconds control_unacknowledged_max{3'000};

inline lane_options control_lane_options()
{
    lane_options shape;
    shape.send_depth = 32;
    shape.receives = 32;
    shape.receive_bytes = control_bytes_max;
    shape.sends = 32;
    shape.send_bytes = control_bytes_max;
    return shape;
}

/// Messages each side may send ahead of the other's credits. One more than the depth: who answers a message inside its handler does
/// not give that one's credit back with the answer.
inline std::uint32_t messages_granted(std::uint32_t depth)
{
    return depth + 1;
}

/// A request is a bind and a send; the window is invalidated by a third request while the slot's next one may already be
/// under way.
inline lane_options client_data_lane_options(std::uint32_t depth, const message_limits& messages)
{
    lane_options shape;
    shape.send_depth = 4 * depth;
    shape.credits = true;
    shape.receives = messages_granted(depth);
    shape.receive_bytes = messages.response_bytes;
    shape.sends = depth + messages.sends_waiting;
    shape.send_bytes = messages.request_bytes;
    shape.windows = depth;
    return shape;
}

/// A request costs a read or a write, and a send. The client may have sent its next one before our send's completion is
/// polled, so both queues have room for one more round.
inline lane_options server_data_lane_options(std::uint32_t depth, const message_limits& messages)
{
    lane_options shape;
    shape.send_depth = 4 * depth;
    shape.credits = true;
    shape.receives = messages_granted(depth);
    shape.receive_bytes = messages.request_bytes;
    shape.sends = 2 * depth + messages.sends_waiting;
    shape.send_bytes = messages.response_bytes;
    shape.windows = depth;
    return shape;
}

} // namespace penstock::connection
