#include "fabric/tcp/device.hpp"

#include <penstock/core/fork.hpp>

#include "fabric/tcp/completion_queue.hpp"
#include "fabric/tcp/memory.hpp"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

namespace penstock::fabric::tcp {
namespace {

device_limits make_limits() noexcept
{
    device_limits limits;
    limits.message_bytes_max = message_bytes_max;
    limits.region_bytes_max = 1ULL << 47U;
    limits.regions_max = key_table::entries_max;
    limits.windows_max = key_table::entries_max;
    limits.queue_pairs_max = 1U << 20U;
    limits.send_depth_max = 1U << 15U;
    limits.receive_depth_max = 1U << 15U;
    limits.segments_max = 32;
    limits.completion_queue_depth_max = 1U << 20U;
    limits.shared_receive_depth_max = 1U << 16U;
    limits.reads_and_atomics_max = 255;
    limits.inline_bytes_max = 1'024;
    limits.connect_private_data_max = connect_private_data_max;
    limits.accept_private_data_max = accept_private_data_max;
    limits.reject_private_data_max = reject_private_data_max;
    return limits;
}

std::string numeric(const sockaddr& address)
{
    char text[INET6_ADDRSTRLEN] = {};
    const void* bytes = nullptr;
    if (address.sa_family == AF_INET)
        bytes = &reinterpret_cast<const sockaddr_in&>(address).sin_addr;
    else if (address.sa_family == AF_INET6)
        bytes = &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
    if (!bytes || !::inet_ntop(address.sa_family, bytes, text, sizeof text))
        return {};
    return text;
}

} // namespace

device_info describe_device()
{
    device_info info;
    info.name = device_name;
    info.kind = transport::tcp;
    info.state = "active";
    ifaddrs* all = nullptr;
    if (::getifaddrs(&all) != 0)
        return info;
    for (const auto* each = all; each; each = each->ifa_next) {
        if (!each->ifa_addr || (each->ifa_flags & IFF_UP) == 0)
            continue;
        if (auto text = numeric(*each->ifa_addr); !text.empty())
            info.addresses.push_back(std::move(text));
    }
    ::freeifaddrs(all);
    return info;
}

tcp_options with_defaults(tcp_options options) noexcept
{
    if (!options.time)
        options.time = &system_clock_source();
    if (options.direct_bytes_min == 0)
        options.direct_bytes_min = 8U << 10U;
    if (options.fragment_bytes_max == 0)
        options.fragment_bytes_max = 512U << 10U;
    options.fragment_bytes_max = std::min(options.fragment_bytes_max, frame_bytes_max);
    if (options.send_buffer_bytes == 0)
        options.send_buffer_bytes = 2U << 20U;
    if (options.receive_buffer_bytes == 0)
        options.receive_buffer_bytes = 2U << 20U;
    return options;
}

device::device(const tcp_options& options, unique_descriptor event)
    : options_(options)
    , log_(options.log.for_component("fabric.tcp"))
    , info_(describe_device())
    , limits_(make_limits())
    , keys_(system_random_source())
    , event_(std::move(event))
{
    events_.reserve(events_max);
}

capabilities device::supports() const noexcept
{
    capabilities all;
    for (const auto each : {capability::memory_windows, capability::window_range_enforced,
             capability::window_owner_enforced, capability::window_reinvalidate_safe, capability::send_with_invalidate,
             capability::atomics, capability::error_status_exact})
        all.set(each);
    return all;
}

result<std::unique_ptr<protection_domain>> device::allocate_protection_domain()
{
    if (core::forked())
        return error_code(errc::forked);
    return std::unique_ptr<protection_domain>(
        std::make_unique<domain>(*this, next_domain_.fetch_add(1, std::memory_order_relaxed)));
}

result<std::unique_ptr<fabric::completion_queue>> device::create_completion_queue(std::uint32_t depth)
{
    return completion_queue::create(*this, depth);
}

std::size_t device::poll_events(std::span<device_event> out)
{
    if (core::forked())
        return 0;
    const std::lock_guard lock(mutex_);
    const auto taken = std::min(out.size(), events_.size());
    std::copy_n(events_.begin(), taken, out.begin());
    events_.erase(events_.begin(), events_.begin() + static_cast<std::ptrdiff_t>(taken));
    if (events_.empty())
        clear_event(event_.get());
    return taken;
}

void device::report(const device_event& event) noexcept
{
    const std::lock_guard lock(mutex_);
    if (events_.size() == events_max)
        return;
    events_.push_back(event);
    signal_event(event_.get());
}

void device::count_protocol_error(std::uint32_t queue_pair, const char* what) noexcept
{
    protocol_errors_.fetch_add(1, std::memory_order_relaxed);
    if (log_.enabled(log_level::warning))
        log_.warning(std::string("the peer sent ") + what + "; closing the queue pair", {{}, -1, queue_pair, 0});
}

} // namespace penstock::fabric::tcp
