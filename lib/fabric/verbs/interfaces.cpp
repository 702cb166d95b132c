#include "fabric/verbs/interfaces.hpp"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/if_vlan.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string_view>

namespace penstock::fabric::verbs {
namespace {

std::string numeric(const sockaddr& address)
{
    std::array<char, INET6_ADDRSTRLEN> text{};
    const void* bytes = nullptr;
    if (address.sa_family == AF_INET)
        bytes = &reinterpret_cast<const sockaddr_in&>(address).sin_addr;
    else if (address.sa_family == AF_INET6)
        bytes = &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
    if (bytes == nullptr || ::inet_ntop(address.sa_family, bytes, text.data(), text.size()) == nullptr)
        return {};
    return text.data();
}

/// Its flags come with each of its entries; that of its link address is always there.
void read_addresses(interface_facts& facts)
{
    ifaddrs* first = nullptr;
    if (::getifaddrs(&first) != 0)
        return;
    for (const auto* entry = first; entry != nullptr; entry = entry->ifa_next) {
        if (facts.name != entry->ifa_name)
            continue;
        constexpr unsigned both = IFF_UP | IFF_RUNNING;
        facts.up = (entry->ifa_flags & both) == both;
        if (entry->ifa_addr == nullptr)
            continue;
        if (auto text = numeric(*entry->ifa_addr); !text.empty())
            facts.addresses.push_back(std::move(text));
    }
    ::freeifaddrs(first);
}

std::string bond_of(const std::string& name)
{
    std::error_code error;
    const auto master = std::filesystem::read_symlink("/sys/class/net/" + name + "/master", error).filename();
    if (error || !std::filesystem::exists("/sys/class/net" / master / "bonding", error))
        return {};
    return master;
}

std::uint16_t vlan_of(const std::string& name)
{
    const int socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket < 0)
        return 0;
    vlan_ioctl_args question{};
    question.cmd = GET_VLAN_VID_CMD;
    name.copy(question.device1, sizeof question.device1 - 1);
    const bool tagged = ::ioctl(socket, SIOCGIFVLAN, &question) == 0;
    ::close(socket);
    return tagged ? static_cast<std::uint16_t>(question.u.VID) : std::uint16_t{0};
}

} // namespace

interface_facts look_up_interface(unsigned index)
{
    interface_facts facts;
    std::array<char, IF_NAMESIZE> name{};
    if (::if_indextoname(index, name.data()) == nullptr)
        return facts;
    facts.name = name.data();
    read_addresses(facts);
    facts.bond = bond_of(facts.name);
    facts.vlan = vlan_of(facts.name);
    return facts;
}

unsigned find_ipoib_interface(std::span<const std::uint8_t, 16> gid)
{
    std::string wanted;
    for (const auto byte : gid) {
        constexpr std::string_view digits = "0123456789abcdef";
        wanted += ':';
        wanted += digits[byte >> 4U];
        wanted += digits[byte & 0xfU];
    }
    using interface = struct if_nameindex; // a function has the same name
    const auto deleter = [](interface* list) { ::if_freenameindex(list); };
    const std::unique_ptr<interface, decltype(deleter)> list(::if_nameindex(), deleter);
    for (const auto* entry = list.get(); entry != nullptr && entry->if_index != 0; ++entry) {
        std::string address;
        std::getline(std::ifstream("/sys/class/net/" + std::string(entry->if_name) + "/address"), address);
        if (address.ends_with(wanted))
            return entry->if_index;
    }
    return 0;
}

} // namespace penstock::fabric::verbs
