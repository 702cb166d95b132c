#include "fabric/tcp/frame.hpp"

#include <boost/endian/conversion.hpp>

#include <algorithm>
#include <cstring>

namespace penstock::fabric::tcp {
namespace {

constexpr std::array<unsigned char, 8> magic{'P', 'E', 'N', 'S', 'T', 'O', 'C', 'K'};

template <class T>
void store(std::byte* at, T value) noexcept
{
    boost::endian::endian_store<T, sizeof(T), boost::endian::order::little>(
        reinterpret_cast<unsigned char*>(at), value);
}

template <class T>
T load(const std::byte* at) noexcept
{
    return boost::endian::endian_load<T, sizeof(T), boost::endian::order::little>(
        reinterpret_cast<const unsigned char*>(at));
}

/// A fragment lies inside its message, and only an empty message has an empty fragment.
bool fragment_valid(const frame_header& h) noexcept
{
    if (h.a > message_bytes_max || h.b > h.a || h.length > h.a - h.b)
        return false;
    return h.length != 0 || h.a == 0;
}

bool seal_valid(const frame_header& h) noexcept
{
    return h.length == 0 && h.b == h.a && h.a > unsealed_bytes_max && h.a <= message_bytes_max;
}

bool flags_valid(const frame_header& h, unsigned allowed) noexcept
{
    return (h.flags & ~allowed) == 0;
}

bool valid(const frame_header& h) noexcept
{
    if (h.length > frame_bytes_max)
        return false;
    switch (h.type) {
    case frame_type::send:
        return fragment_valid(h)
            && flags_valid(h, frame_flag::solicited | frame_flag::immediate | frame_flag::invalidate)
            && (h.flags & (frame_flag::immediate | frame_flag::invalidate))
            != (frame_flag::immediate | frame_flag::invalidate);
    case frame_type::write: return fragment_valid(h) && flags_valid(h, 0);
    case frame_type::write_with_immediate: return fragment_valid(h) && flags_valid(h, frame_flag::solicited);
    case frame_type::read_request: return h.length == 0 && h.a <= message_bytes_max && flags_valid(h, 0);
    case frame_type::read_response: return (fragment_valid(h) || seal_valid(h)) && flags_valid(h, 0);
    case frame_type::atomic_request: return h.length == 0 && flags_valid(h, frame_flag::compare_swap);
    case frame_type::atomic_response:
    case frame_type::acknowledge:
    case frame_type::disconnect: return h.length == 0 && flags_valid(h, 0);
    case frame_type::negative_acknowledge:
        return h.length == 0 && flags_valid(h, 0) && h.code >= static_cast<std::uint16_t>(refusal::receiver_not_ready)
            && h.code <= static_cast<std::uint16_t>(refusal::operation);
    }
    return false;
}

std::uint32_t private_data_limit(handshake_kind kind) noexcept
{
    switch (kind) {
    case handshake_kind::connect: return connect_private_data_max;
    case handshake_kind::accept: return accept_private_data_max;
    case handshake_kind::reject: return reject_private_data_max;
    case handshake_kind::ready: return 0;
    }
    return 0;
}

} // namespace

void encode(const frame_header& header, std::span<std::byte, header_bytes> out) noexcept
{
    std::byte* at = out.data();
    at[0] = static_cast<std::byte>(header.type);
    at[1] = static_cast<std::byte>(header.flags);
    store(at + 2, header.code);
    store(at + 4, header.length);
    store(at + 8, header.message);
    store(at + 12, header.acknowledge);
    store(at + 16, header.address);
    store(at + 24, header.key);
    store(at + 28, header.value);
    store(at + 32, header.a);
    store(at + 40, header.b);
}

bool decode(std::span<const std::byte, header_bytes> in, frame_header& header) noexcept
{
    const std::byte* at = in.data();
    header.type = static_cast<frame_type>(at[0]);
    header.flags = static_cast<std::uint8_t>(at[1]);
    header.code = load<std::uint16_t>(at + 2);
    header.length = load<std::uint32_t>(at + 4);
    header.message = load<std::uint32_t>(at + 8);
    header.acknowledge = load<std::uint32_t>(at + 12);
    header.address = load<std::uint64_t>(at + 16);
    header.key = load<std::uint32_t>(at + 24);
    header.value = load<std::uint32_t>(at + 28);
    header.a = load<std::uint64_t>(at + 32);
    header.b = load<std::uint64_t>(at + 40);
    return valid(header);
}

void encode(const handshake_header& header, std::span<std::byte, header_bytes> out) noexcept
{
    std::byte* at = out.data();
    std::memset(at, 0, header_bytes);
    std::memcpy(at, magic.data(), magic.size());
    store(at + 8, header.version);
    at[10] = static_cast<std::byte>(header.kind);
    at[12] = static_cast<std::byte>(header.initiator_depth);
    at[13] = static_cast<std::byte>(header.responder_resources);
    store(at + 16, header.private_data_bytes);
    store(at + 20, header.queue_pair_number);
}

bool decode(std::span<const std::byte, header_bytes> in, handshake_header& header) noexcept
{
    const std::byte* at = in.data();
    if (std::memcmp(at, magic.data(), magic.size()) != 0)
        return false;
    header.version = load<std::uint16_t>(at + 8);
    header.kind = static_cast<handshake_kind>(at[10]);
    header.initiator_depth = static_cast<std::uint8_t>(at[12]);
    header.responder_resources = static_cast<std::uint8_t>(at[13]);
    header.private_data_bytes = load<std::uint32_t>(at + 16);
    header.queue_pair_number = load<std::uint32_t>(at + 20);
    return header.version == protocol_version && header.kind >= handshake_kind::connect
        && header.kind <= handshake_kind::ready && header.private_data_bytes <= private_data_limit(header.kind);
}

} // namespace penstock::fabric::tcp
