#pragma once

// Which port and which GID of a device to use: a pure function of what the device reports, with its reasons.
//
// Preferred is, in this order: a port that is up, an interface that is up, an address that leads there, RoCE v2 before v1,
// IPv4 before global IPv6 before link-local, an interface that is no member of a bond, the untagged network before a VLAN,
// the faster port, the larger packets, then the lower port and index. So the choice does not depend on the order in which the
// kernel happens to list things.

#include <penstock/fabric/device.hpp>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::fabric::verbs {

enum class gid_kind : std::uint8_t { infiniband, roce_v1, roce_v2 };

/// One entry of a port's table.
struct gid_report {
    std::uint32_t index = 0;
    std::array<std::uint8_t, 16> raw{};
    gid_kind kind{};
    std::string interface; ///< empty: none
    bool interface_up = true;
    std::string bond;       ///< the bond this interface is a member of; empty: none
    std::uint16_t vlan = 0; ///< 0: untagged
    std::string address; ///< InfiniBand: an IP address of the interface, numeric. RoCE: unused, the GID is the address
};

struct port_report {
    std::uint32_t number = 0;
    std::string state; ///< "active", or why not
    link_layer layer{};
    std::uint32_t mtu = 0;   ///< bytes
    std::uint64_t speed = 0; ///< bits per second
    std::vector<gid_report> gids;
};

struct device_report {
    std::string name;
    std::vector<port_report> ports;
};

/// What the user insists on.
struct path_wish {
    std::string name; ///< of the device; empty: any
    std::optional<std::uint32_t> port;
    std::optional<std::uint32_t> gid_index;
};

/// "NAME", "NAME:PORT" or "NAME:PORT:GID_INDEX". Errors: invalid_argument.
result<path_wish> parse_path_wish(std::string_view text);

/// Fills in what is said about the path in `info` (state included), and the candidates that fit the wish, best first.
/// Where none fits `info.port` stays 0 and `info.state` says why.
void choose_path(const device_report& device, const path_wish& wish, device_info& info);

/// True if `a` is the better device to use by default.
bool better(const device_info& a, const device_info& b);

} // namespace penstock::fabric::verbs
