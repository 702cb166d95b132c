#pragma once

// Bringing two queue pairs together: listen, connect, accept, disconnect, with a little private data each way.
//
//   active side                                    passive side
//   channel.resolve(address)  -> resolved
//   connection.connect(qp, data)            ----->  connect_request(data); carries the new connection
//                                                   connection.accept(qp, data)  or  reject(data)
//   established(data) | rejected(data)      <-----
//                                           ----->  established
//   either: connection.disconnect()                 disconnected at both
//
// Private data is the peer's word and nothing more: it is not authenticated, and may be anything.

#include <penstock/fabric/types.hpp>

#include <boost/asio/ip/tcp.hpp>

#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <string>

namespace penstock::fabric {

class queue_pair;
class connection;

/// An IP address and a port, IPv4 or IPv6.
using endpoint = boost::asio::ip::tcp::endpoint;

/// How the path between two connected queue pairs behaves. Each side states its own.
struct path_options {
    std::uint8_t retry_count
        = 6; ///< unanswered transmissions before transport_retry_exceeded, 0-7; SoftRoCE takes 7 for ever
    std::uint8_t rnr_retry_count = 7;                      ///< receiver-not-ready retries; 7 means for ever
    std::chrono::microseconds rnr_delay{10};               ///< what this side asks a sender to wait (min_rnr_timer)
    std::chrono::microseconds acknowledge_timeout{67'109}; ///< before a retransmission; rounded up to 4.096 us * 2^n
    std::uint8_t initiator_depth = 16;                     ///< reads and atomics outstanding from this side
    std::uint8_t responder_resources = 16;                 ///< from the peer
    std::optional<std::uint8_t> traffic_class{};           ///< DSCP << 2; unset: what the system has configured
    std::optional<std::uint8_t> service_level{};           ///< verbs; 0-15, RoCE 0-7 (VLAN priority); unset: likewise
    /// verbs: bytes of payload in a packet at most, 256 to 4096; 0: what the ports allow. Both sides must state the same: a
    /// queue pair takes packets of another size for broken ones.
    std::uint32_t packet_bytes_max = 0;
    /// tcp: bytes the peer's machine has not acknowledged, or the peer has not read, for so long end the connection (verbs:
    /// acknowledge_timeout, retry_count). It must be longer than a living peer may stall; 0: the kernel's, a quarter of an hour.
    std::chrono::milliseconds unacknowledged_max{0};
    std::chrono::seconds keep_alive{1}; ///< tcp: an idle peer's machine is asked this often; 0: never
    std::uint8_t keep_alive_probes = 2; ///< tcp: unanswered ones that end the connection
};

/// What an established connection really has.
struct path_properties {
    std::uint32_t port = 0;      ///< verbs; likewise the next two
    std::uint32_t gid_index = 0; ///< as it is now
    std::string gid;             ///< ours, as an IPv6 address
    path_options options{};      ///< as the device took them: rounded, limited by the peer, the system's where unset
};

struct connect_options {
    std::span<const std::byte>
        private_data{}; ///< at most device_limits::connect_private_data_max (accept_... for accept)
    path_options path{};
};

/// A message of rdma_cm's that was lost is sent again after 4.3 s, by the kernel, which nothing here can change; one of TCP's
/// after 1 s, then 2 s, then 4 s. The time for handshakes lets two losses in a row pass. It bounds a peer that is silent.
inline constexpr std::chrono::milliseconds handshake_timeout_default{9'000};

struct resolve_options {
    endpoint local{}; ///< unspecified address: chosen by the route; source_for() names a device's
    std::chrono::milliseconds timeout{2'000}; ///< for each of resolving the address and the route
    std::chrono::milliseconds handshake_timeout = handshake_timeout_default; ///< for the peer's answer to connect
};

struct listen_options {
    std::uint32_t backlog = 1'024; ///< handshakes in progress at most; more are refused
    /// For a peer to send its request, and its answer to accept.
    std::chrono::milliseconds handshake_timeout = handshake_timeout_default;
};

enum class connection_event_type : std::uint8_t {
    resolved,        ///< connect may be called
    connect_request, ///< `incoming` is the new connection; accept, reject or destroy it
    established,     ///< the queue pair is ready to send; at the active side with the peer's private data
    rejected,        ///< by the peer, with its private data, or nobody listens there (error says which)
    unreachable,     ///< no answer; `error` says why
    disconnected,    ///< by the peer, by disconnect(), or by death; the queue pair is in ERROR
    device_removed,
    failed, ///< `error` says why
};

/// Private data as received. A transport may pad what was sent with zero bytes.
struct received_private_data {
    std::array<std::byte, 256> storage{};
    std::uint32_t size = 0;
    std::span<const std::byte> bytes() const noexcept { return {storage.data(), size}; }
};

struct connection_event {
    connection_event_type type{};
    connection* source = nullptr;         ///< the connection it is about; null for connect_request
    std::unique_ptr<connection> incoming; ///< connect_request only
    error_code error{};
    received_private_data private_data{};
};

/// A connection in the making, made or broken. It does not own its queue pair and must be destroyed before its
/// channel. Destroying it before the queue pair is legal, disconnects, and moves the queue pair to ERROR; destroying
/// the queue pair first too: the connection is then only good for being destroyed. No event names a connection
/// after its destruction.
///
/// Threads: that of its channel.
class connection {
public:
    connection(const connection&) = delete;
    connection& operator=(const connection&) = delete;
    virtual ~connection() = default;

    /// After `resolved`. `pair` is in INIT and belongs to the device `device_name()`.
    /// Errors: wrong_state, private_data_too_long, invalid_argument, or errno.
    virtual error_code connect(queue_pair& pair, const connect_options& options) = 0;
    /// After `connect_request`. The pair takes messages from here on. Same errors.
    virtual error_code accept(queue_pair& pair, const connect_options& options) = 0;
    /// After `connect_request`, instead of accept. Same errors.
    virtual error_code reject(std::span<const std::byte> private_data) = 0;
    /// Closes in order: the pair goes to ERROR, both sides get `disconnected`. Idempotent.
    virtual error_code disconnect() = 0;
    /// Moves its future events to another channel (of the same provider), for another thread. Only between
    /// connect_request and accept, by the thread of the present channel.
    virtual error_code migrate(class connection_channel& to) = 0;

    /// The local device it runs over; known from `resolved` or `connect_request` on.
    virtual std::string_view device_name() const noexcept = 0;
    virtual endpoint local_endpoint() const noexcept = 0;
    virtual endpoint remote_endpoint() const noexcept = 0;

    /// Asks the device: for set-up and people. Errors: wrong_state (not connected), not_supported, or errno.
    virtual result<path_properties> path() const;

protected:
    connection() = default;
};

/// Listens until destroyed. Destroying it refuses the handshakes that have not yet been told as connect_request
/// and leaves the others alone.
class listener {
public:
    listener(const listener&) = delete;
    listener& operator=(const listener&) = delete;
    virtual ~listener() = default;
    virtual endpoint local_endpoint() const noexcept = 0; ///< with the port the system chose if 0 was asked for
    /// Handshakes dropped because the peer spoke garbage or took too long, since the start.
    virtual std::uint64_t refused_handshakes() const noexcept = 0;

protected:
    listener() = default;
};

/// Where connection events are told. Ownership: child of a provider; parent of its listeners and connections.
/// Threads: one at a time, except that a connection's queue pair may be polled by another.
class connection_channel {
public:
    connection_channel(const connection_channel&) = delete;
    connection_channel& operator=(const connection_channel&) = delete;
    virtual ~connection_channel() = default;

    /// Errors: address_in_use and the like as errno, invalid_argument, no_device.
    virtual result<std::unique_ptr<listener>> listen(const endpoint& local, const listen_options& options = {}) = 0;

    /// Starts finding a way to `remote`; `resolved`, `unreachable` or `failed` follows.
    virtual result<std::unique_ptr<connection>> resolve(const endpoint& remote, const resolve_options& options = {})
        = 0;

    /// Takes events and moves handshakes on. Never blocks.
    virtual std::size_t poll(std::span<connection_event> out) = 0;

    /// Readable when poll has something to do (its timeouts included).
    virtual int descriptor() const noexcept = 0;

protected:
    connection_channel() = default;
};

} // namespace penstock::fabric
