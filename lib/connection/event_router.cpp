#include "event_router.hpp"

#include <array>

namespace penstock::connection {

std::size_t event_router::turn()
{
    // One at a time: handling an event may destroy the connection that the next one names.
    constexpr std::size_t events_max = 64;
    std::size_t count = 0;
    for (; count != events_max; ++count) {
        std::array<fabric::connection_event, 1> events;
        if (channel_.poll(events) == 0) {
            break;
        }
        dispatch(events[0]);
    }
    return count;
}

void event_router::dispatch(fabric::connection_event& event)
{
    handler call; // a copy: the handler may unwatch itself
    if (event.type == fabric::connection_event_type::connect_request) {
        if (const auto found = ports_.find(event.incoming->local_endpoint().port()); found != ports_.end()) {
            call = found->second;
        }
    } else if (const auto found = connections_.find(event.source); found != connections_.end()) {
        call = found->second;
    }
    if (call) {
        call(event);
    }
}

} // namespace penstock::connection
