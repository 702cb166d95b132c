#include "fabric/verbs/device_list.hpp"

#include "fabric/verbs/interfaces.hpp"
#include "fabric/verbs/path.hpp"

#include <algorithm>
#include <iterator>
#include <vector>

namespace penstock::fabric::verbs {
namespace {

constexpr std::size_t gids_max = 1'024;

std::string_view port_state(ibv_port_state state) noexcept
{
    switch (state) {
    case IBV_PORT_ACTIVE: return "active";
    case IBV_PORT_DOWN: return "port down";
    case IBV_PORT_INIT: return "port initialising: it waits for a subnet manager";
    case IBV_PORT_ARMED: return "port armed: it waits for a subnet manager";
    case IBV_PORT_ACTIVE_DEFER: return "port deferred";
    default: return "port state unknown";
    }
}

std::uint64_t speed_of(const ibv_port_attr& port) noexcept
{
    constexpr std::uint64_t megabit = 1'000'000;
    std::uint64_t lane = 0;
    switch (port.active_speed) {
    case 1: lane = 2'500 * megabit; break;
    case 2: lane = 5'000 * megabit; break;
    case 4:
    case 8: lane = 10'000 * megabit; break;
    case 16: lane = 14'000 * megabit; break;
    case 32: lane = 25'000 * megabit; break;
    case 64: lane = 50'000 * megabit; break;
    case 128: lane = 100'000 * megabit; break;
    default: return 0;
    }
    switch (port.active_width) {
    case 1: return lane;
    case 2: return 4 * lane;
    case 4: return 8 * lane;
    case 8: return 12 * lane;
    case 16: return 2 * lane;
    default: return 0;
    }
}

link_layer layer_of(const ibv_port_attr& port) noexcept
{
    // Unspecified means InfiniBand: older drivers know nothing else.
    return port.link_layer == IBV_LINK_LAYER_ETHERNET ? link_layer::ethernet : link_layer::infiniband;
}

gid_kind kind_of(const ibv_gid_entry& entry) noexcept
{
    switch (entry.gid_type) {
    case IBV_GID_TYPE_ROCE_V1: return gid_kind::roce_v1;
    case IBV_GID_TYPE_ROCE_V2: return gid_kind::roce_v2;
    default: return gid_kind::infiniband;
    }
}

/// An InfiniBand GID is no IP address: those of the IPoIB interface on top are what reaches it, each a way of its own.
void add_gid(const ibv_gid_entry& entry, std::vector<gid_report>& out)
{
    gid_report made;
    made.index = entry.gid_index;
    std::copy(std::begin(entry.gid.raw), std::end(entry.gid.raw), made.raw.begin());
    made.kind = kind_of(entry);
    const bool ipoib = made.kind == gid_kind::infiniband && entry.ndev_ifindex == 0;
    const auto interface = look_up_interface(ipoib ? find_ipoib_interface(made.raw) : entry.ndev_ifindex);
    made.interface = interface.name;
    made.interface_up = interface.up;
    made.bond = interface.bond;
    made.vlan = interface.vlan;
    if (made.kind != gid_kind::infiniband || interface.addresses.empty()) {
        out.push_back(std::move(made));
        return;
    }
    for (const auto& address : interface.addresses) {
        out.push_back(made);
        out.back().address = address;
    }
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

device_report report_on(ibv_context& context)
{
    device_report report;
    report.name = ibv_get_device_name(context.device);
    ibv_device_attr attributes{};
    if (ibv_query_device(&context, &attributes) != 0)
        return report;
    std::vector<ibv_gid_entry> entries(gids_max);
    const auto count = ibv_query_gid_table(&context, entries.data(), entries.size(), 0);
    entries.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    for (int number = 1; number <= attributes.phys_port_cnt; ++number) {
        ibv_port_attr port{};
        if (ibv_query_port(&context, static_cast<std::uint8_t>(number), &port) != 0)
            continue;
        port_report made;
        made.number = static_cast<std::uint32_t>(number);
        made.state = port_state(port.state);
        made.layer = layer_of(port);
        made.mtu = to_bytes(port.active_mtu);
        made.speed = speed_of(port);
        for (const auto& entry : entries)
            if (entry.port_num == made.number)
                add_gid(entry, made.gids);
        report.ports.push_back(std::move(made));
    }
    return report;
}

device_info describe(ibv_context& context, const path_wish& wish)
{
    device_info info;
    choose_path(report_on(context), wish, info);
    return info;
}

} // namespace penstock::fabric::verbs
