#pragma once

// Accepts connections on one address: control lanes by tcp, data lanes by tcp and, where there is a device, by verbs.

#include <penstock/connection/connection.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace penstock::connection {

struct acceptor_options {
    fabric::endpoint listen{}; ///< port 0: the system chooses
    transport_choice transport = transport_choice::automatic;
    std::uint32_t depth = 64;
    message_limits messages{};
    std::uint64_t transfer_bytes_max = std::uint64_t{1} << 20U;
    std::uint32_t half_open_max = 64; ///< connections in their handshake; more are refused
    std::uint32_t connections_max = 256;
    std::uint32_t connections_per_address_max
        = 0;                     ///< of one remote address, those in their handshake included; 0: as many as all
    std::uint32_t lanes_max = 1; ///< data lanes granted to a connection
    recovery_options recovery{};
    liveness_options liveness{};
    std::chrono::milliseconds handshake_timeout{5'000};
};

struct acceptor_statistics {
    std::uint64_t accepted = 0;
    std::uint64_t open = 0;
    std::uint64_t refused = 0; ///< garbage, wrong magic or ticket, too late, over a limit
};

/// Threads: the runtime's executor.
class acceptor {
public:
    using handler = std::function<void(std::unique_ptr<connection>)>;

    /// Listens. `accepted` gets each connection when all its data lanes can be used: its message handler must be set before it
    /// returns. A client that has lost its connection and makes it again gets a new one, after the old one was fenced. Throws system_error: errno for the address, no_device with transport verbs and none here.
    acceptor(runtime& rt, const acceptor_options& options, handler accepted);
    acceptor(const acceptor&) = delete;
    acceptor& operator=(const acceptor&) = delete;
    /// Stops listening and drops handshakes in progress; connections handed out live on.
    ~acceptor();

    fabric::endpoint local_endpoint() const noexcept;
    /// What is offered and why: "verbs on rxe0, tcp" or "tcp (no RDMA device on this machine)".
    const std::string& transports() const noexcept;
    acceptor_statistics statistics() const noexcept;

private:
    struct state;
    std::shared_ptr<state> state_; // connections that outlive the acceptor tell it when they close
};

} // namespace penstock::connection
