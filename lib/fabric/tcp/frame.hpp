#pragma once

// The wire format: fixed little-endian headers, see docs/tcp-fabric.md. Pure code.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace penstock::fabric::tcp {

inline constexpr std::size_t header_bytes = 48;
/// Payload of one frame at most. A longer one is a protocol violation: it bounds what a peer can make us wait for.
inline constexpr std::uint32_t frame_bytes_max = 1U << 20U;
inline constexpr std::uint64_t message_bytes_max = 1ULL << 31U;
/// The response to a read longer than this ends with an empty frame: until then the responder can still refuse it, also
/// when the region's key dies in the middle of the last frame with payload.
inline constexpr std::uint64_t unsealed_bytes_max = 16U << 10U;

inline constexpr std::uint32_t connect_private_data_max = 56;
inline constexpr std::uint32_t accept_private_data_max = 196;
inline constexpr std::uint32_t reject_private_data_max = 148;

using header_buffer = std::array<std::byte, header_bytes>;

enum class frame_type : std::uint8_t {
    send = 1,
    write = 2,
    write_with_immediate = 3,
    read_request = 4,
    read_response = 5,
    atomic_request = 6,
    atomic_response = 7,
    acknowledge = 8,
    negative_acknowledge = 9,
    disconnect = 10,
};

namespace frame_flag {
inline constexpr std::uint8_t solicited = 1U << 0U;
inline constexpr std::uint8_t immediate = 1U << 1U;
inline constexpr std::uint8_t invalidate = 1U << 2U;
inline constexpr std::uint8_t compare_swap = 1U << 3U;
} // namespace frame_flag

/// Why a message was refused: `frame_header::code` of a negative acknowledgement.
enum class refusal : std::uint16_t {
    none = 0,
    receiver_not_ready = 1,
    remote_access = 2,
    invalid_request = 3,
    operation = 4,
};

/// Fields that a frame type does not use are zero.
struct frame_header {
    frame_type type = frame_type::acknowledge;
    std::uint8_t flags = 0;
    std::uint16_t code = 0;
    std::uint32_t length = 0;      ///< payload bytes behind this header
    std::uint32_t message = 0;     ///< sequence number of the message it belongs to
    std::uint32_t acknowledge = 0; ///< every message of the other side before this one is done
    std::uint64_t address = 0;     ///< remote address of the whole message
    std::uint32_t key = 0;         ///< remote key
    std::uint32_t value = 0;       ///< immediate data or the key to invalidate
    std::uint64_t a = 0; ///< bytes of the whole message; atomics: compare/add or the old value; rnr: microseconds
    std::uint64_t b = 0; ///< offset of the payload in the message; atomics: swap

    bool operator==(const frame_header&) const = default;
};

/// The last frame of a read's response.
constexpr bool ends_response(const frame_header& frame) noexcept
{
    return frame.b + frame.length == frame.a && (frame.a <= unsealed_bytes_max || frame.length == 0);
}

void encode(const frame_header& header, std::span<std::byte, header_bytes> out) noexcept;

/// False when the bytes are no frame of this version; every accepted header keeps the bounds stated above.
[[nodiscard]] bool decode(std::span<const std::byte, header_bytes> in, frame_header& header) noexcept;

/// Sequence numbers wrap: true when `earlier` comes before `later`.
constexpr bool before(std::uint32_t earlier, std::uint32_t later) noexcept
{
    return static_cast<std::int32_t>(earlier - later) < 0;
}

enum class handshake_kind : std::uint8_t { connect = 1, accept = 2, reject = 3, ready = 4 };

inline constexpr std::uint16_t protocol_version = 1;

/// What is exchanged before the first frame.
struct handshake_header {
    std::uint16_t version = protocol_version;
    handshake_kind kind = handshake_kind::connect;
    std::uint8_t initiator_depth = 0;
    std::uint8_t responder_resources = 0;
    std::uint32_t private_data_bytes = 0;
    std::uint32_t queue_pair_number = 0;

    bool operator==(const handshake_header&) const = default;
};

void encode(const handshake_header& header, std::span<std::byte, header_bytes> out) noexcept;

/// False on wrong magic, version, kind or a private data length beyond the kind's limit.
[[nodiscard]] bool decode(std::span<const std::byte, header_bytes> in, handshake_header& header) noexcept;

} // namespace penstock::fabric::tcp
