#pragma once

// A connection: a control lane, a data lane, and what both sides agreed on.

#include <penstock/connection/lane.hpp>
#include <penstock/connection/runtime.hpp>
#include <penstock/core/identifier.hpp>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/async_result.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace penstock::connection {

/// Longest messages on the data lane. Both sides of a protocol state the same.
struct message_limits {
    std::uint32_t request_bytes = 512;
    std::uint32_t response_bytes = 64;
};

struct connection_properties {
    fabric::transport transport{};
    std::string transport_reason; ///< why this one: one sentence for people
    std::string device;
    fabric::endpoint remote;
    std::uint32_t depth = 0;              ///< requests outstanding at most
    std::uint64_t transfer_bytes_max = 0; ///< longest buffer of one request
    identifier peer_instance{};
};

/// Ownership: child of the runtime; it owns its lanes. Destroying it closes abruptly: the lanes are retired, and what is in
/// flight on them ends with completion_status::flushed before they are gone.
/// Threads: the runtime's executor.
class connection {
public:
    connection(runtime& rt, connection_properties agreed, std::unique_ptr<lane> control, std::unique_ptr<lane> data);
    connection(const connection&) = delete;
    connection& operator=(const connection&) = delete;
    ~connection();

    const connection_properties& properties() const noexcept { return properties_; }
    lane& data() noexcept { return *data_; }

    void on_message(lane::message_handler handler) { data_->on_message(std::move(handler)); }
    /// Called once when either lane dies: connection_lost, or what killed it; also when that was before this call, but never
    /// inside it. Then close() is due.
    void on_down(lane::down_handler handler);

    /// Ends both lanes. `fenced` is called after the data lane is destroyed: from then on the peer cannot reach any memory
    /// through this connection. It is not called if the runtime ends first, nor if the connection was closed already.
    /// After close() only the destructor and properties() may be called.
    void close(std::function<void()> fenced = {});

    /// Called when the connection is closed or destroyed. On an accepted connection this is the acceptor's, which counts.
    void on_closed(std::function<void()> handler) { on_closed_ = std::move(handler); }

private:
    void lane_down(error_code why);

    runtime& runtime_;
    connection_properties properties_;
    std::unique_ptr<lane> control_;
    std::unique_ptr<lane> data_;
    lane::down_handler on_down_;
    completion::timer late_; // tells on_down_ of a death that came before it
    error_code lost_;
    std::function<void()> on_closed_;
};

struct connect_options {
    transport_choice transport = transport_choice::automatic;
    std::uint32_t depth = 64;
    message_limits messages{};
    std::chrono::milliseconds timeout{5'000}; ///< for the whole
};

void start_connect(runtime& rt, const fabric::endpoint& remote, const connect_options& options,
    boost::asio::any_completion_handler<void(error_code, std::unique_ptr<connection>)> handler);

/// Connects: control lane, handshake, data lane.
///
/// With transport_choice::automatic and a server that has RDMA too, a data lane that cannot be opened by verbs is opened by tcp;
/// that is logged as a warning and stated in transport_reason.
/// *Completion signature.* void(error_code, std::unique_ptr<connection>).
/// *Errors.* refused (nobody listens), unreachable, timed_out, no_device (verbs wanted, none here), remote_refused_feature (the other
/// side does not offer the wanted transport), too_many_connections, the protocol group, or what a local limit gives.
/// *Threads.* The runtime's executor.
template <class Token>
auto async_connect(runtime& rt, const fabric::endpoint& remote, const connect_options& options, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code, std::unique_ptr<connection>)>(
        [&rt](auto handler, const fabric::endpoint& where, const connect_options& wanted) {
            start_connect(rt, where, wanted, std::move(handler));
        },
        token, remote, options);
}

} // namespace penstock::connection
