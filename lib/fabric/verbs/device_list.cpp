#include "fabric/verbs/device_list.hpp"

#include <boost/asio/ip/address.hpp>

#include <ifaddrs.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

namespace penstock::fabric::verbs {
namespace {

namespace ip = boost::asio::ip;

constexpr std::size_t gids_max = 1'024;

std::string_view port_state(ibv_port_state state) noexcept
{
    switch (state) {
    case IBV_PORT_ACTIVE: return "active";
    case IBV_PORT_DOWN: return "port down";
    case IBV_PORT_INIT: return "port initialising";
    case IBV_PORT_ARMED: return "port armed";
    case IBV_PORT_ACTIVE_DEFER: return "port deferred";
    default: return "port state unknown";
    }
}

/// A RoCE GID is the IP address of its network device: an IPv4 one in the mapped form.
ip::address address_of(const ibv_gid& gid)
{
    ip::address_v6::bytes_type bytes{};
    std::memcpy(bytes.data(), gid.raw, bytes.size());
    const ip::address_v6 address(bytes);
    if (address.is_v4_mapped())
        return ip::make_address_v4(ip::v4_mapped, address);
    return address;
}

/// InfiniBand GIDs are no IP addresses: those of the IPoIB device on top are what reaches it.
void add_interface_addresses(unsigned interface_index, std::vector<ip::address>& out)
{
    ifaddrs* first = nullptr;
    if (::getifaddrs(&first) != 0)
        return;
    for (const ifaddrs* entry = first; entry != nullptr; entry = entry->ifa_next) {
        if (entry->ifa_addr == nullptr || ::if_nametoindex(entry->ifa_name) != interface_index)
            continue;
        if (entry->ifa_addr->sa_family == AF_INET) {
            sockaddr_in address{};
            std::memcpy(&address, entry->ifa_addr, sizeof address);
            out.emplace_back(ip::address_v4(ntohl(address.sin_addr.s_addr)));
        } else if (entry->ifa_addr->sa_family == AF_INET6) {
            sockaddr_in6 address{};
            std::memcpy(&address, entry->ifa_addr, sizeof address);
            ip::address_v6::bytes_type bytes{};
            std::memcpy(bytes.data(), &address.sin6_addr, bytes.size());
            out.emplace_back(ip::address_v6(bytes));
        }
    }
    ::freeifaddrs(first);
}

/// IPv4 first, then global IPv6, then link-local.
int rank(const ip::address& address)
{
    if (address.is_v4())
        return 0;
    return address.to_v6().is_link_local() ? 2 : 1;
}

std::vector<std::string> addresses_of(ibv_context& context)
{
    std::vector<ibv_gid_entry> entries(gids_max);
    const auto count = ibv_query_gid_table(&context, entries.data(), entries.size(), 0);
    std::vector<ip::address> found;
    for (std::size_t i = 0; count > 0 && i < static_cast<std::size_t>(count); ++i) {
        if (entries[i].gid_type == IBV_GID_TYPE_IB)
            add_interface_addresses(entries[i].ndev_ifindex, found);
        else
            found.push_back(address_of(entries[i].gid));
    }
    std::stable_sort(found.begin(), found.end(),
        [](const auto& a, const auto& b) { return std::pair(rank(a), a) < std::pair(rank(b), b); });
    found.erase(std::unique(found.begin(), found.end()), found.end());
    std::vector<std::string> names;
    names.reserve(found.size());
    for (const auto& address : found)
        names.push_back(address.to_string());
    return names;
}

} // namespace

device_list::device_list() noexcept
{
    int count = 0;
    list_ = ibv_get_device_list(&count);
    count_ = list_ == nullptr ? 0 : static_cast<std::size_t>(count);
}

device_list::~device_list()
{
    if (list_ != nullptr)
        ibv_free_device_list(list_);
}

device_info describe(ibv_context& context)
{
    device_info info;
    info.name = ibv_get_device_name(context.device);
    info.kind = transport::verbs;
    info.addresses = addresses_of(context);
    ibv_device_attr attributes{};
    if (ibv_query_device(&context, &attributes) != 0) {
        info.state = "query failed";
        return info;
    }
    info.state = "no port";
    for (int port = 1; port <= attributes.phys_port_cnt; ++port) {
        ibv_port_attr port_attributes{};
        if (ibv_query_port(&context, static_cast<std::uint8_t>(port), &port_attributes) != 0)
            continue;
        info.state = port_state(port_attributes.state);
        if (port_attributes.state == IBV_PORT_ACTIVE)
            break;
    }
    return info;
}

} // namespace penstock::fabric::verbs
