#pragma once

// Sending a handshake message on a control lane. The one place besides the transfer layer that posts work requests: a
// connection has to exist before there can be transfers.

#include "handshake.hpp"

#include <penstock/connection/lane.hpp>

#include <array>

namespace penstock::connection {

/// The end of one message: its slot goes back to the lane.
struct message_sent {
    lane* on;
    message_slot slot;
    void failed(const fabric::work_completion&) {}
    void complete(const fabric::work_completion& completion)
    {
        on->release_message(slot);
        if (completion.status != completion_status::success) {
            on->fail(errc::connection_lost);
        }
        on->ended(1);
    }
};

template <class Message>
error_code send_message(lane& on, const Message& message)
{
    auto slot = on.acquire_message();
    if (!slot) {
        return slot.error();
    }
    const std::size_t length = encode(message, slot->bytes);
    auto id = on.owner().poller().start<message_sent>(&on, *slot);
    if (!id) {
        on.release_message(*slot);
        return id.error();
    }
    const std::array segments{slot->segment(length)};
    fabric::send_request request;
    request.id = *id | completion::last_request;
    request.operation = fabric::opcode::send;
    request.local = segments;
    if (const auto error = on.post({&request, 1}); error.failed()) {
        on.owner().poller().release(*id);
        on.release_message(*slot);
        return error;
    }
    return {};
}

} // namespace penstock::connection
