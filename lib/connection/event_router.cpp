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

event_router::handler event_router::listening_at(const fabric::endpoint& local) const
{
    using namespace boost::asio::ip;
    for (const auto& address : {local.address(), address(address_v4::any()), address(address_v6::any())}) {
        const auto found = endpoints_.find({address, local.port()});
        if (found != endpoints_.end() && (address.is_v6() || local.address().is_v4())) {
            return found->second;
        }
    }
    return {};
}

void event_router::dispatch(fabric::connection_event& event)
{
    handler call; // a copy: the handler may unwatch itself
    if (event.type == fabric::connection_event_type::connect_request) {
        call = listening_at(event.incoming->local_endpoint());
    } else if (const auto found = connections_.find(event.source); found != connections_.end()) {
        call = found->second;
    }
    if (call) {
        call(event);
    }
}

} // namespace penstock::connection
