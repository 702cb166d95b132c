#pragma once

#include "fabric/tcp/channel.hpp"
#include "fabric/tcp/handshake.hpp"
#include "fabric/tcp/link.hpp"

#include <penstock/fabric/connection.hpp>

namespace penstock::fabric::tcp {

class connection final : public fabric::connection, private waiter {
public:
    /// The active side.
    connection(channel& home, const endpoint& remote, const resolve_options& options);
    /// The passive side: the peer's request has been read from `socket`.
    connection(channel& home, unique_descriptor socket, const handshake_header& request, std::uint64_t origin,
        std::chrono::milliseconds timeout);
    ~connection() override;

    error_code connect(fabric::queue_pair& pair, const connect_options& options) override;
    error_code accept(fabric::queue_pair& pair, const connect_options& options) override;
    error_code reject(std::span<const std::byte> private_data) override;
    error_code disconnect() override;
    error_code migrate(connection_channel& to) override;

    std::string_view device_name() const noexcept override;
    endpoint local_endpoint() const noexcept override { return local_; }
    endpoint remote_endpoint() const noexcept override { return remote_; }
    result<path_properties> path() const override;

    /// Identifier of the listener it came from; 0 at the active side.
    std::uint64_t origin() const noexcept { return origin_; }
    /// `resolved` has been taken from the channel.
    void note_resolved() noexcept { state_ = state::resolved; }

private:
    enum class state : std::uint8_t { resolving, resolved, connecting, asked, requested, accepted, established, ended };

    void on_ready() override;
    void on_timeout() override;
    void on_notice(connection_event_type type) override;

    error_code take_pair(fabric::queue_pair& pair, const connect_options& options, std::size_t private_data_max);
    error_code begin_connect();
    void finish_connect();
    void read_answer();
    void establish(const handshake_header& answer);
    void end(connection_event_type why, error_code error, const received_private_data& data = {});
    void tell(connection_event_type type, error_code error = {}, const received_private_data& data = {});
    link_terms terms(std::uint8_t peer_resources) const noexcept;
    handshake_header header(handshake_kind kind) const noexcept;
    int descriptor() const noexcept { return handed_over_ ? link_->socket() : socket_.get(); }

    channel* home_;
    state state_;
    endpoint local_;
    endpoint remote_;
    std::chrono::milliseconds timeout_;
    std::uint64_t origin_ = 0;
    unique_descriptor socket_; // until it is handed over to the link
    bool handed_over_ = false;
    std::shared_ptr<link> link_;
    path_options path_;
    std::array<std::byte, connect_private_data_max> private_data_{};
    std::size_t private_data_bytes_ = 0;
    std::uint32_t queue_pair_number_ = 0;
    handshake_header request_{}; // the peer's, at the passive side
    handshake_reader answer_;
};

} // namespace penstock::fabric::tcp
