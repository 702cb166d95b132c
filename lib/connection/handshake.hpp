#pragma once

// The handshake on the control lane, as pure state machines: docs/connection.md is the specification.
//
//   client                                   server
//   hello  ------------------------------->
//          <-------------------------------  welcome | refused
//   (opens each data lane with its ticket)
//
// No I/O here; the layer around performs the actions.

#include <penstock/connection/connection.hpp>
#include <penstock/core/error.hpp>
#include <penstock/core/identifier.hpp>
#include <penstock/fabric/types.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace penstock::connection {

inline constexpr std::uint8_t protocol_version = 2;
inline constexpr std::size_t control_bytes_max = 512;
inline constexpr std::size_t reason_bytes_max = 255;
inline constexpr std::uint32_t depth_max = 1'024;
inline constexpr std::size_t ticket_bytes = 40;
inline constexpr std::size_t control_greeting_bytes = 8;

/// What the client presents when it opens a data lane: private data of the fabric's connection.
struct ticket {
    std::uint64_t connection = 0;
    std::uint32_t epoch = 0;
    std::uint16_t lane = 0;
    identifier secret{};

    friend bool operator==(const ticket&, const ticket&) = default;
};

/// What both sides may have; a bit that one of them does not know is not granted.
inline constexpr std::uint32_t feature_recovery = 1U << 0U; ///< lanes are replaced, and the connection is made again

struct hello {
    bool has_verbs = false; ///< an RDMA device is open on the client
    transport_choice wants = transport_choice::automatic;
    std::uint8_t lanes = 1;  ///< data lanes wanted, at most lanes_max
    std::uint32_t depth = 0; ///< requests outstanding on each lane, wanted
    std::uint32_t features = 0;
    std::uint32_t epoch = 1; ///< raised with each attempt of the same instance
    identifier instance{};

    friend bool operator==(const hello&, const hello&) = default;
};

struct welcome {
    fabric::transport transport = fabric::transport::tcp;
    std::uint8_t lanes = 1;      ///< granted; at most what was wanted
    std::uint16_t data_port = 0; ///< where the data lanes are to be opened, on the address already in use
    std::uint32_t depth = 0;     ///< granted; at most what was wanted
    std::uint64_t transfer_bytes_max = 0;
    std::uint32_t features = 0; ///< granted; a part of those wanted
    std::uint32_t epoch = 1;    ///< of the hello
    std::uint64_t connection = 0;
    identifier instance{};                       ///< of the server
    std::array<identifier, lanes_max> secrets{}; ///< one for each lane granted
    std::string reason;                          ///< for the transport; printable, at most reason_bytes_max

    ticket admission(std::size_t lane) const noexcept
    {
        return {connection, epoch, static_cast<std::uint16_t>(lane), secrets[lane]};
    }
    friend bool operator==(const welcome&, const welcome&) = default;
};

struct refused {
    error_code why{};

    friend bool operator==(const refused&, const refused&) = default;
};

/// Encoders return the bytes written; the span has room for control_bytes_max (ticket_bytes, control_greeting_bytes).
std::size_t encode(const hello& message, std::span<std::byte> into) noexcept;
std::size_t encode(const welcome& message, std::span<std::byte> into) noexcept;
std::size_t encode(const refused& message, std::span<std::byte> into) noexcept;
void encode(const ticket& admission, std::span<std::byte, ticket_bytes> into) noexcept;
void encode_control_greeting(std::span<std::byte, control_greeting_bytes> into) noexcept;

/// What the private data of a connection request asks for. Padding after the message must be zero.
enum class greeting : std::uint8_t { none, control, data };
greeting classify(std::span<const std::byte> private_data) noexcept;
/// Errors: bad_magic, unsupported_version, malformed_message.
result<ticket> decode_ticket(std::span<const std::byte> private_data) noexcept;

/// The client's side.
class client_handshake {
public:
    enum class action : std::uint8_t {
        open_data_lanes, ///< each with answer().admission(lane)
        fail,            ///< error() says why; close everything
    };

    explicit client_handshake(const hello& opening)
        : opening_(opening)
    {}

    action on_message(std::span<const std::byte> message);

    const hello& opening() const noexcept { return opening_; }
    const welcome& answer() const noexcept { return answer_; }
    const error_code& error() const noexcept { return error_; }

private:
    enum class state : std::uint8_t { waiting_for_answer, answered, failed };
    action fail_with(error_code why) noexcept;
    error_code check_answer() const noexcept;

    hello opening_;
    welcome answer_;
    error_code error_;
    state state_ = state::waiting_for_answer;
};

/// The server's side.
class server_handshake {
public:
    struct offer {
        transport_choice allows = transport_choice::automatic;
        bool has_verbs = false;
        std::string verbs_reason; ///< why it has or has not
        std::uint16_t tcp_port = 0;
        std::uint16_t verbs_port = 0;
        std::uint32_t depth = 64;
        std::uint64_t transfer_bytes_max = 0;
        std::uint32_t lanes = 1; ///< at most lanes_max
        std::uint32_t features = 0;
        identifier instance{};
    };

    enum class action : std::uint8_t {
        send_welcome, ///< answer()
        send_refused, ///< error(); then close
        fail,         ///< error(): the peer broke the protocol; close and count
    };

    /// `number` names the connection; `secrets` are those of its lanes.
    server_handshake(
        const offer& offered, std::uint64_t number, const std::array<identifier, lanes_max>& secrets) noexcept
        : offer_(offered)
    {
        answer_.connection = number;
        answer_.secrets = secrets;
    }

    action on_message(std::span<const std::byte> message);

    /// The data lane that presents this ticket is ours and is still to come.
    bool admits(const ticket& presented) const noexcept;
    /// A lane that was admitted is being opened: its ticket is used up. Returns whether all are: what the client says from now
    /// on is for the connection.
    bool on_lane(std::size_t lane) noexcept;
    /// One of these can be used. Returns whether all can.
    bool on_established() noexcept;

    const hello& opening() const noexcept { return opening_; }
    const welcome& answer() const noexcept { return answer_; }
    const error_code& error() const noexcept { return error_; }

private:
    enum class state : std::uint8_t { waiting_for_hello, waiting_for_lanes, established, failed };
    action fail_with(error_code why) noexcept;
    action choose();

    offer offer_;
    hello opening_;
    welcome answer_;
    error_code error_;
    std::array<bool, lanes_max> opened_{};
    std::uint32_t usable_ = 0; // lanes
    state state_ = state::waiting_for_hello;
};

/// Compared whole and without an early end, so that timing tells nothing of the secret.
bool same_secret(const identifier& a, const identifier& b) noexcept;

} // namespace penstock::connection
