#pragma once

// What the kernel tells about a network interface.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace penstock::fabric::verbs {

struct interface_facts {
    std::string name; ///< empty: there is no such interface
    bool up = false;  ///< and its carrier too
    std::string bond; ///< the bond it is a member of; empty: none
    std::uint16_t vlan = 0;
    std::vector<std::string> addresses; ///< numeric
};

interface_facts look_up_interface(unsigned index);

/// The IPoIB interface on an InfiniBand port's GID: the last 16 bytes of its link address are the GID. 0: none.
unsigned find_ipoib_interface(std::span<const std::uint8_t, 16> gid);

} // namespace penstock::fabric::verbs
