#pragma once

// The embedded default: verbs semantics over one stream socket per queue pair. Needs no device and no privilege.

#include <penstock/core/clock.hpp>
#include <penstock/core/log.hpp>
#include <penstock/fabric/device.hpp>

#include <memory>

namespace penstock::fabric {

struct tcp_options {
    clock* time = nullptr; ///< null: the system's
    logger log{};
    std::uint32_t direct_bytes_min
        = 0; ///< payload of at least this goes straight between socket and region; 0: measured default
    std::uint32_t fragment_bytes_max = 0;   ///< longest run of one message before control frames may pass; 0: default
    std::uint32_t send_buffer_bytes = 0;    ///< SO_SNDBUF; 0: default of this provider
    std::uint32_t receive_buffer_bytes = 0; ///< SO_RCVBUF; 0: default of this provider
};

std::unique_ptr<provider> make_tcp_provider(const tcp_options& options = {});

} // namespace penstock::fabric
