#pragma once

// The handshake on the control lane, as pure state machines: docs/connection.md is the specification.
//
//   client                                   server
//   hello  ------------------------------->
//          <-------------------------------  welcome | refused
//   (opens the data lane with its ticket)
//
// No I/O here; the layer around performs the actions.

#include <penstock/connection/runtime.hpp>
#include <penstock/core/error.hpp>
#include <penstock/core/identifier.hpp>
#include <penstock/fabric/types.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace penstock::connection {

inline constexpr std::uint8_t protocol_version = 1;
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

struct hello {
    bool has_verbs = false; ///< an RDMA device is open on the client
    transport_choice wants = transport_choice::automatic;
    std::uint32_t depth = 0; ///< requests outstanding, wanted
    identifier instance{};

    friend bool operator==(const hello&, const hello&) = default;
};

struct welcome {
    fabric::transport transport = fabric::transport::tcp;
    std::uint32_t depth = 0;     ///< granted; at most what was wanted
    std::uint16_t data_port = 0; ///< where the data lane is to be opened, on the address already in use
    std::uint64_t transfer_bytes_max = 0;
    ticket admission{};
    identifier instance{}; ///< of the server
    std::string reason;    ///< for the transport; printable, at most reason_bytes_max

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
        open_data_lane, ///< with answer().admission
        fail,           ///< error() says why; close everything
    };

    explicit client_handshake(const hello& opening)
        : opening_(opening)
    {}

    action on_message(std::span<const std::byte> message);
    void on_established() noexcept { state_ = state::established; }

    const hello& opening() const noexcept { return opening_; }
    const welcome& answer() const noexcept { return answer_; }
    const error_code& error() const noexcept { return error_; }

private:
    enum class state : std::uint8_t { waiting_for_answer, opening_lane, established, failed };
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
        identifier instance{};
    };

    enum class action : std::uint8_t {
        send_welcome, ///< answer()
        send_refused, ///< error(); then close
        fail,         ///< error(): the peer broke the protocol; close and count
    };

    server_handshake(const offer& offered, const ticket& admission)
        : offer_(offered)
    {
        answer_.admission = admission;
    }

    action on_message(std::span<const std::byte> message);

    /// The data lane that presents this ticket is ours and is still to come.
    bool admits(const ticket& presented) const noexcept;
    void on_established() noexcept { state_ = state::established; }

    const hello& opening() const noexcept { return opening_; }
    const welcome& answer() const noexcept { return answer_; }
    const error_code& error() const noexcept { return error_; }

private:
    enum class state : std::uint8_t { waiting_for_hello, waiting_for_lane, established, failed };
    action fail_with(error_code why) noexcept;
    action choose();

    offer offer_;
    hello opening_;
    welcome answer_;
    error_code error_;
    state state_ = state::waiting_for_hello;
};

} // namespace penstock::connection
