#pragma once

// Send requests in the device's form, a batch at a time on the stack.

#include "fabric/verbs/post_receive.hpp"

#include <penstock/fabric/types.hpp>

#include <infiniband/verbs.h>

#include <array>

namespace penstock::fabric::verbs {

class verbs_memory_window;

/// Chained requests of one doorbell. Filled as far as `count` and `segments_used` say; never zeroed as a whole.
struct send_batch {
    std::array<ibv_send_wr, post_batch> requests;
    std::array<verbs_memory_window*, post_batch> windows; ///< bound or invalidated by the request, else null
    std::array<ibv_sge, 2 * segments_supported> segments;
    std::size_t count = 0;
    std::size_t segments_used = 0;

    bool has_room(const send_request& request) const noexcept
    {
        return count < requests.size() && segments_used + request.local.size() <= segments.size();
    }

    bool binds(const verbs_memory_window* window) const noexcept
    {
        for (std::size_t i = 0; i < count; ++i)
            if (windows[i] == window && requests[i].opcode == IBV_WR_BIND_MW)
                return true;
        return false;
    }
};

} // namespace penstock::fabric::verbs
