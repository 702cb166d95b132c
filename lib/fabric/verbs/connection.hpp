#pragma once

#include <penstock/core/clock.hpp>
#include <penstock/fabric/connection.hpp>
#include <penstock/fabric/queue_pair.hpp>

#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>
#include <rdma/rdma_cma.h>

namespace penstock::fabric::verbs {

class verbs_connection_channel;
class verbs_queue_pair;

// Of rdma_cm's messages in the TCP port space.
inline constexpr std::uint32_t connect_private_data_max = 56;
inline constexpr std::uint32_t accept_private_data_max = 196;
inline constexpr std::uint32_t reject_private_data_max = 148;

/// What a rdma_cm_event says, after it was acknowledged.
struct cm_event {
    rdma_cm_event_type type{};
    int status = 0;
    std::uint8_t initiator_depth = 0; ///< reads and atomics the peer lets us have outstanding
};

/// Whom the context of an rdma_cm id points to.
class cm_target {
public:
    /// True if `out` is to be told.
    virtual bool on_event(const cm_event& event, connection_event& out) = 0;

protected:
    ~cm_target() = default;
};

/// One rdma_cm id and the handshake on it.
///
/// It tells at most one ending (rejected, unreachable, failed, disconnected, device_removed), whatever rdma_cm says
/// after it.
///
/// Threads: the channel's. Its queue pair may be destroyed by another thread meanwhile: `pair_` is guarded by the
/// provider's link mutex.
class verbs_connection final
    : public connection,
      public cm_target,
      public boost::intrusive::set_base_hook<boost::intrusive::link_mode<boost::intrusive::safe_link>> {
public:
    /// Active side.
    verbs_connection(verbs_connection_channel& channel, const resolve_options& options) noexcept;
    /// Passive side; takes over the id of a connect request. `timeout` is for the peer's answer.
    verbs_connection(verbs_connection_channel& channel, rdma_cm_id& id, std::chrono::milliseconds timeout,
        std::uint8_t initiator_depth);
    ~verbs_connection() override;

    error_code start(const endpoint& remote, const endpoint& local);

    error_code connect(queue_pair& pair, const connect_options& options) override;
    error_code accept(queue_pair& pair, const connect_options& options) override;
    error_code reject(std::span<const std::byte> private_data) override;
    error_code disconnect() override;
    error_code migrate(connection_channel& to) override;
    std::string_view device_name() const noexcept override { return device_name_; }
    endpoint local_endpoint() const noexcept override;
    endpoint remote_endpoint() const noexcept override;
    result<path_properties> path() const override;

    bool on_event(const cm_event& event, connection_event& out) override;
    bool on_deadline(connection_event& out);
    time_point deadline() const noexcept { return deadline_; }

    /// Its queue pair is being destroyed. Called under the link mutex.
    void forget_pair() noexcept { pair_ = nullptr; }

    /// Its queue pair is in ERROR: the channel will disconnect. Called under the link mutex, by any thread.
    void pair_broke() noexcept;

    /// The channel takes note of it.
    void on_pair_broken();

    boost::intrusive::list_member_hook<> broken_hook; ///< of the channel's list; guarded by the link mutex

private:
    enum class step : std::uint8_t {
        resolving_address,
        resolving_route,
        resolved,
        connecting,
        requested,
        accepting,
        established,
        disconnecting,
        ended
    };

    bool on_address_resolved();
    bool on_route_resolved(connection_event& out);
    bool on_response(const cm_event& event, connection_event& out);
    bool on_established(connection_event& out);
    bool on_disconnected(error_code error, connection_event& out);
    void on_resolve_error(int errno_value);
    bool end(connection_event_type type, error_code error, connection_event& out);
    void tell_soon(connection_event_type type, error_code error);
    void wait_until(time_point deadline) noexcept;
    void stop_waiting() noexcept;
    time_point after(duration span) const noexcept;

    error_code check(queue_pair& pair, const connect_options& options, std::size_t private_data_max) const;
    error_code adopt(queue_pair& pair, const path_options& path);
    void release_pair() noexcept;
    void close();
    error_code bring_up();
    error_code step_up(verbs_queue_pair& pair, ibv_qp_state state, queue_pair_state reached);
    rdma_conn_param parameters(std::span<const std::byte> private_data, const verbs_queue_pair& pair) const noexcept;
    void pair_to_error() noexcept;

    verbs_connection_channel* channel_;
    rdma_cm_id* id_ = nullptr;
    verbs_queue_pair* pair_ = nullptr;
    std::chrono::milliseconds resolve_timeout_{};
    std::chrono::milliseconds handshake_timeout_;
    step step_ = step::resolving_address;
    std::uint8_t offered_depth_ = 0; ///< passive side: what the peer lets us have outstanding
    path_options path_;
    std::string device_name_;
    error_code reason_; ///< of a disconnection by us
    time_point deadline_ = time_point_never;
    connection_event_type at_deadline_ = connection_event_type::unreachable;
    error_code error_at_deadline_ = errc::unreachable;
};

} // namespace penstock::fabric::verbs
