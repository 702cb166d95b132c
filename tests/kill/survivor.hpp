#pragma once

// Either side of the traffic, alike in the process that is killed and in the one that survives: an owner exposes memory, a user
// reads and writes it.

#include <penstock/connection/acceptor.hpp>
#include <penstock/connection/connection.hpp>
#include <penstock/transfer/exposure.hpp>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>

namespace penstock::kill_test {

inline constexpr std::size_t memory_bytes = std::size_t{256} << 10U;
inline constexpr std::byte written{0xee};

runtime_options shape(transport_choice transport);

/// Exposes a buffer to whoever connects, for as long as the connection lives.
class owner {
public:
    owner(runtime& rt, transport_choice transport, const boost::asio::ip::address& address);

    std::uint16_t port() const { return listening_.local_endpoint().port(); }
    /// Connections whose user has written to their memory.
    std::uint64_t worked() const;
    /// Nothing is left of any connection.
    bool at_rest() const { return clients_ == 0; }

private:
    struct client;
    void serve(std::unique_ptr<connection::connection> made);

    runtime& runtime_;
    std::uint64_t accepted_ = 0;
    std::weak_ptr<client> newest_;
    std::size_t clients_ = 0;
    connection::acceptor listening_;
};

/// Connects to an owner and keeps reads and writes outstanding until the connection ends.
class user {
public:
    static constexpr std::size_t outstanding_max = 8;

    user(runtime& rt, transport_choice transport);

    void start(const fabric::endpoint& remote);
    bool at_rest() const { return !busy_; }

    std::uint64_t succeeded() const { return succeeded_; }
    std::uint64_t failed() const { return failed_; }
    /// Operations that ended twice, or ended without having been started.
    std::uint64_t faults() const { return faults_; }

private:
    void use(std::size_t slot);
    void ended(std::size_t slot, error_code error);
    void check_rest();

    runtime& runtime_;
    transport_choice transport_;
    memory::buffer buffer_;
    std::unique_ptr<connection::connection> over_;
    transfer::remote_buffer target_;
    std::array<bool, outstanding_max> under_way_{};
    bool busy_ = false;
    bool receiving_ = false;
    bool down_ = false;
    std::uint64_t turn_ = 0;
    std::uint64_t succeeded_ = 0;
    std::uint64_t failed_ = 0;
    std::uint64_t faults_ = 0;
};

} // namespace penstock::kill_test
