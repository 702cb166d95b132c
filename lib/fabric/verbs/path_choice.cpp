#include "fabric/verbs/path_choice.hpp"

#include <boost/asio/ip/address.hpp>

#include <algorithm>
#include <charconv>
#include <tuple>

namespace penstock::fabric::verbs {
namespace {

namespace ip = boost::asio::ip;

ip::address_v6 as_ipv6(const std::array<std::uint8_t, 16>& raw)
{
    ip::address_v6::bytes_type bytes{};
    std::copy(raw.begin(), raw.end(), bytes.begin());
    return ip::address_v6(bytes);
}

/// A RoCE GID is the IP address of its network device, an IPv4 one in the mapped form.
std::string address_of(const gid_report& gid)
{
    if (gid.kind == gid_kind::infiniband)
        return gid.address;
    const auto address = as_ipv6(gid.raw);
    if (address.is_v4_mapped())
        return ip::make_address_v4(ip::v4_mapped, address).to_string();
    return address.to_string();
}

/// Of an address: IPv4, then global IPv6, then link-local.
std::int64_t address_rank(std::string_view text)
{
    error_code error;
    const auto address = ip::make_address(text, error);
    if (error.failed() || address.is_v4())
        return 0;
    return address.to_v6().is_link_local() ? 2 : 1;
}

std::string gigabits(std::uint64_t speed)
{
    const auto tenths = (speed + 50'000'000) / 100'000'000;
    const auto rest = tenths % 10;
    return std::to_string(tenths / 10) + (rest == 0 ? "" : "." + std::to_string(rest)) + " Gbit/s";
}

std::string_view name_of(gid_kind kind)
{
    switch (kind) {
    case gid_kind::infiniband: return "InfiniBand";
    case gid_kind::roce_v1: return "RoCE v1";
    case gid_kind::roce_v2: return "RoCE v2";
    }
    return "unknown";
}

struct seen {
    const port_report* port;
    const gid_report* gid;
    std::string address;
};

/// What speaks for a candidate (the smaller the better) and what to say when it decides against one.
struct criterion {
    std::int64_t (*rank)(const seen&);
    std::string (*say)(const seen&);
};

constexpr std::size_t usable_criteria = 3; // who fails one of the first ones cannot be used at all

constexpr criterion criteria[] = {
    {[](const seen& at) { return std::int64_t{at.port->state != "active"}; },
        [](const seen& at) { return "port " + std::to_string(at.port->number) + " is not active: " + at.port->state; }},
    {[](const seen& at) { return std::int64_t{!at.gid->interface_up}; },
        [](const seen& at) {
            return (at.gid->interface.empty() ? std::string("its network interface") : at.gid->interface) + " is down";
        }},
    {[](const seen& at) { return std::int64_t{at.address.empty()}; },
        [](const seen& at) {
            return "no IP address leads to it"
                + (at.gid->interface.empty() ? "" : ": give " + at.gid->interface + " one");
        }},
    {[](const seen& at) { return std::int64_t{at.gid->kind == gid_kind::roce_v1}; },
        [](const seen&) { return std::string("RoCE v1 does not cross routers"); }},
    {[](const seen& at) { return address_rank(at.address); },
        [](const seen& at) {
            return at.address
                + (address_rank(at.address) == 2 ? " is link-local: it reaches only neighbours" : " is IPv6");
        }},
    {[](const seen& at) { return std::int64_t{!at.gid->bond.empty()}; },
        [](const seen& at) { return at.gid->interface + " is a member of " + at.gid->bond; }},
    {[](const seen& at) { return std::int64_t{at.gid->vlan != 0}; },
        [](const seen& at) { return "it reaches only VLAN " + std::to_string(at.gid->vlan); }},
    {[](const seen& at) { return -static_cast<std::int64_t>(at.port->speed); },
        [](const seen& at) {
            return "port " + std::to_string(at.port->number) + " is slower: " + gigabits(at.port->speed);
        }},
    {[](const seen& at) { return -std::int64_t{at.port->mtu}; },
        [](const seen& at) { return "its packets are smaller: " + std::to_string(at.port->mtu) + " bytes"; }},
    {[](const seen& at) { return (std::int64_t{at.port->number} << 32U) + at.gid->index; },
        [](const seen&) { return std::string("as good, but later in the table"); }},
};

bool ahead(const seen& a, const seen& b)
{
    for (const auto& each : criteria)
        if (const auto left = each.rank(a), right = each.rank(b); left != right)
            return left < right;
    return false;
}

const criterion* deficiency(const seen& at)
{
    const auto* const found
        = std::find_if(criteria, criteria + usable_criteria, [&](const criterion& each) { return each.rank(at) != 0; });
    return found == criteria + usable_criteria ? nullptr : found;
}

std::string describe(const seen& at)
{
    std::string text(name_of(at.gid->kind));
    if (!at.address.empty())
        text += ", " + at.address;
    if (!at.gid->interface.empty())
        text += " on " + at.gid->interface;
    if (at.gid->vlan != 0)
        text += ", VLAN " + std::to_string(at.gid->vlan);
    text += ", port " + std::to_string(at.port->number) + " " + at.port->state;
    if (at.port->speed != 0)
        text += " at " + gigabits(at.port->speed);
    return text + ", packets of " + std::to_string(at.port->mtu) + " bytes";
}

/// Why it is not the best: the first criterion that tells them apart.
std::string against(const seen& at, const seen& best)
{
    for (const auto& each : criteria)
        if (each.rank(at) != each.rank(best))
            return "not chosen: " + each.say(at);
    return describe(at);
}

std::vector<seen> all_that_fit(const device_report& device, const path_wish& wish)
{
    std::vector<seen> found;
    for (const auto& port : device.ports) {
        if (wish.port && *wish.port != port.number)
            continue;
        for (const auto& gid : port.gids)
            if (!wish.gid_index || *wish.gid_index == gid.index)
                found.push_back({&port, &gid, address_of(gid)});
    }
    std::sort(found.begin(), found.end(), ahead);
    return found;
}

std::string why_nothing_fits(const device_report& device, const path_wish& wish)
{
    const auto asked = std::find_if(device.ports.begin(), device.ports.end(),
        [&](const port_report& port) { return wish.port && port.number == *wish.port; });
    if (device.ports.empty())
        return "no port";
    if (wish.port && asked == device.ports.end())
        return "no port " + std::to_string(*wish.port);
    const auto& port = asked == device.ports.end() ? device.ports.front() : *asked;
    if (wish.gid_index && port.state == "active")
        return "no GID with index " + std::to_string(*wish.gid_index);
    return port.state == "active" ? "no GID" : port.state;
}

std::optional<std::uint32_t> number_in(std::string_view text)
{
    std::uint32_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size())
        return std::nullopt;
    return value;
}

} // namespace

result<path_wish> parse_path_wish(std::string_view text)
{
    path_wish wish;
    const auto colon = text.find(':');
    wish.name = text.substr(0, colon);
    if (colon == std::string_view::npos)
        return wish;
    const auto rest = text.substr(colon + 1);
    const auto second = rest.find(':');
    wish.port = number_in(rest.substr(0, second));
    if (second != std::string_view::npos)
        wish.gid_index = number_in(rest.substr(second + 1));
    const bool read = wish.port && *wish.port != 0 && (second == std::string_view::npos || wish.gid_index);
    if (!read || wish.name.empty())
        return make_error_code(errc::invalid_argument);
    return wish;
}

void choose_path(const device_report& device, const path_wish& wish, device_info& info)
{
    info.name = device.name;
    info.kind = transport::verbs;
    const auto found = all_that_fit(device, wish);
    if (found.empty()) {
        info.state = why_nothing_fits(device, wish);
        info.why = "cannot be used: " + info.state;
        return;
    }
    const auto& best = found.front();
    for (const auto& each : found) {
        const auto* const lacks = deficiency(each);
        path_candidate candidate;
        candidate.port = each.port->number;
        candidate.gid_index = each.gid->index;
        candidate.gid = as_ipv6(each.gid->raw).to_string();
        candidate.address = each.address;
        candidate.interface = each.gid->interface;
        candidate.usable = lacks == nullptr;
        if (lacks != nullptr)
            candidate.why = "cannot be used: " + lacks->say(each);
        else
            candidate.why = &each == &best ? describe(each) : against(each, best);
        info.candidates.push_back(std::move(candidate));
        if (!each.address.empty()
            && std::find(info.addresses.begin(), info.addresses.end(), each.address) == info.addresses.end())
            info.addresses.push_back(each.address);
    }
    const auto& chosen = info.candidates.front();
    info.state = chosen.usable ? "active" : deficiency(best)->say(best);
    info.port = chosen.port;
    info.gid_index = chosen.gid_index;
    info.gid = chosen.gid;
    info.interface = chosen.interface;
    info.layer = best.port->layer;
    info.mtu = best.port->mtu;
    info.speed = best.port->speed;
    info.why = chosen.why;
    if (wish.port)
        info.why += wish.gid_index ? "; port and GID were asked for" : "; the port was asked for";
}

bool better(const device_info& a, const device_info& b)
{
    const auto rank = [](const device_info& info) {
        const bool usable = !info.candidates.empty() && info.candidates.front().usable;
        const auto address = usable ? address_rank(info.candidates.front().address) : 0;
        return std::tuple(!usable, address, -static_cast<std::int64_t>(info.speed), std::string_view(info.name));
    };
    return rank(a) < rank(b);
}

} // namespace penstock::fabric::verbs
