#pragma once

// Messages of the handshake, as structures and as bytes.

#include "connection/handshake.hpp"
#include "connection/handshake_wire.hpp"

#include <initializer_list>
#include <string>
#include <vector>

namespace penstock::test {

using namespace penstock::connection;

using bytes = std::vector<std::byte>;

inline bytes raw(std::initializer_list<unsigned> values)
{
    bytes made;
    for (const auto value : values) {
        made.push_back(static_cast<std::byte>(value));
    }
    return made;
}

inline identifier counted_from(unsigned first)
{
    identifier id;
    for (auto& each : id.bytes) {
        each = static_cast<std::byte>(first++);
    }
    return id;
}

template <class Message>
inline bytes encoded(const Message& message)
{
    bytes made(control_bytes_max);
    made.resize(encode(message, made));
    return made;
}

inline bytes encoded(const ticket& admission)
{
    bytes made(ticket_bytes);
    encode(admission, std::span<std::byte, ticket_bytes>(made));
    return made;
}

inline ticket sample_ticket()
{
    return {0x0102'0304'0506'0708U, 0x1112'1314U, 0x2122U, counted_from(0x40)};
}

inline std::array<identifier, lanes_max> sample_secrets()
{
    return {counted_from(0x40), counted_from(0xa0)};
}

inline hello sample_hello()
{
    return {true, transport_choice::tcp, 2, 0x0102U, 0x8000'0001U, 0x0304U, counted_from(0x10)};
}

inline welcome sample_welcome()
{
    return {fabric::transport::tcp, 2, 0x1d2f, 0x40, 0x0010'0000, feature_recovery, 0x0304U, 0x0102'0304'0506'0708U,
        counted_from(0x60), sample_secrets(), "ok"};
}

inline const bytes golden_hello = raw({0x50, 0x53, 0x43, 0x4d, 2, 1, 0, 0, // prefix
    1, 2, 2, 2, 0x02, 0x01, 0, 0,    // verbs, wants tcp, lanes, lowest version, depth
    1, 0, 0, 0x80, 0x04, 0x03, 0, 0, // features, epoch
    0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f});

inline const bytes golden_welcome = raw({0x50, 0x53, 0x43, 0x4d, 2, 2, 0, 0, // prefix
    1, 2, 0x2f, 0x1d, 0x40, 0, 0, 0,                                         // tcp, reason's length, port, depth
    0, 0, 0x10, 0, 0, 0, 0, 0,                                               // longest transfer
    1, 0, 0, 0, 0x04, 0x03, 0, 0,                                            // features, epoch
    8, 7, 6, 5, 4, 3, 2, 1,                                                  // connection
    0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f, // instance
    2, 0, 0, 0, 0, 0, 0, 0,                                                                         // lanes
    0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f, // secrets
    0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 'o', 'k'});

inline const bytes golden_grant = raw({0x50, 0x53, 0x43, 0x4d, 2, 5, 0, 0, // prefix
    3, 0, 0, 0,                                                            // lane
    0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f});

inline const bytes golden_ticket = raw({0x50, 0x53, 0x43, 0x54, 2, 0, 0, 0, // prefix
    8, 7, 6, 5, 4, 3, 2, 1, 0x14, 0x13, 0x12, 0x11, 0x22, 0x21, 0, 0,       // connection, epoch, lane
    0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f});

inline bool lowest(std::size_t bit, const bytes& whole)
{
    return whole == golden_hello && bit / 8 == 11; // any that is low enough will do
}

inline bool re_encodes_to(const control_message& decoded, const bytes& message)
{
    switch (decoded.type) {
    case control_type::hello: return encoded(decoded.opening) == message;
    case control_type::welcome: return encoded(decoded.answer) == message;
    case control_type::refused: return encoded(refused{decoded.why}) == message;
    case control_type::lane_request: return encoded(lane_request{decoded.lane}) == message;
    case control_type::lane_grant: return encoded(lane_grant{decoded.lane, decoded.secret}) == message;
    case control_type::lane_denied: return encoded(lane_denied{decoded.lane}) == message;
    case control_type::ping: return encoded(ping{}) == message;
    case control_type::pong: return encoded(pong{}) == message;
    case control_type::goodbye: return encoded(goodbye{}) == message;
    case control_type::revoke:
    case control_type::released: return encoded(decoded.note) == message;
    }
    return false;
}

inline server_handshake::offer offer_of(transport_choice allows, bool verbs)
{
    server_handshake::offer made;
    made.allows = allows;
    made.has_verbs = verbs;
    made.verbs_reason = "no RDMA device on this machine";
    made.tcp_port = 1001;
    made.verbs_port = verbs ? 1002 : 0;
    made.depth = 16;
    made.transfer_bytes_max = 1U << 20U;
    made.lanes = 2;
    made.features = feature_recovery;
    made.instance = counted_from(0x80);
    return made;
}

inline server_handshake shaking(const server_handshake::offer& offered)
{
    return {offered, sample_ticket().connection, sample_secrets()};
}

inline hello hello_of(transport_choice wants, bool verbs, std::uint32_t depth = 8)
{
    return {verbs, wants, 1, depth, 0, 1, counted_from(1)};
}

} // namespace penstock::test
