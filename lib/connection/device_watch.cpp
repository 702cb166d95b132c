#include "device_watch.hpp"

#include <array>
#include <string>

namespace penstock::connection {
namespace {

/// A look is a system call, and events are rare: every 64th turn a busy poller gives is soon enough, and a poller that was woken by
/// the descriptor comes here as often as it takes.
constexpr std::uint32_t turns_between_looks = 64;

} // namespace

std::size_t device_watch::turn()
{
    if (turns_++ % turns_between_looks != 0) {
        return 0;
    }
    std::array<fabric::device_event, 16> events;
    std::size_t total = 0;
    for (std::size_t count = events.size(); count == events.size();
         total += count) { // until it says that there are no more
        count = about_.device->poll_events(events);
        for (std::size_t i = 0; i != count; ++i) {
            take(events[i]);
        }
    }
    return total;
}

void device_watch::take(const fabric::device_event& event)
{
    const auto& info = about_.device->info();
    const bool ours = info.port == 0 || event.port == info.port;
    const auto where = info.name + ", port " + std::to_string(event.port) + ": ";
    switch (event.type) {
    case fabric::device_event_type::port_error:
        about_.up = about_.up && !ours;
        log_.warning(where + "down");
        break;
    case fabric::device_event_type::port_active:
        about_.up = about_.up || ours;
        log_.info(where + "up");
        break;
    case fabric::device_event_type::gid_changed:
    case fabric::device_event_type::address_changed: log_.info(where + "its addresses have changed"); break;
    case fabric::device_event_type::device_fatal:
        about_.up = false;
        log_.error(info.name + ": the device has failed");
        break;
    case fabric::device_event_type::completion_queue_error:
        log_.error(info.name + ": a completion queue has failed; its lanes are lost");
        break;
    // Told by the completions of the queue pair as well.
    case fabric::device_event_type::queue_pair_fatal:
    case fabric::device_event_type::queue_pair_access_error:
    case fabric::device_event_type::last_request_reached:
    case fabric::device_event_type::other: break;
    }
}

} // namespace penstock::connection
