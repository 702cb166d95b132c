#include <penstock/transfer/remote_buffer.hpp>

#include "core/little_endian.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>

namespace penstock::transfer {
namespace {

using core::load;
using core::store;

constexpr std::uint8_t version = 1;
constexpr std::uint8_t right_read = 1;
constexpr std::uint8_t right_write = 2;
constexpr std::uint8_t right_atomic = 4;

constexpr fabric::access remote_rights
    = fabric::access::remote_read | fabric::access::remote_write | fabric::access::remote_atomic;

std::uint8_t encode_rights(fabric::access rights) noexcept
{
    using fabric::access;
    return static_cast<std::uint8_t>((has_access(rights, access::remote_read) ? right_read : 0U)
        | (has_access(rights, access::remote_write) ? right_write : 0U)
        | (has_access(rights, access::remote_atomic) ? right_atomic : 0U));
}

fabric::access decode_rights(std::uint8_t bits) noexcept
{
    using fabric::access;
    return ((bits & right_read) != 0 ? access::remote_read : access::none)
        | ((bits & right_write) != 0 ? access::remote_write : access::none)
        | ((bits & right_atomic) != 0 ? access::remote_atomic : access::none);
}

bool ascending(std::span<const lane_key> keys) noexcept
{
    return std::adjacent_find(keys.begin(), keys.end(), [](const lane_key& a, const lane_key& b) {
        return a.lane >= b.lane;
    }) == keys.end();
}

} // namespace

result<remote_buffer> remote_buffer::make(std::uint64_t id, std::uint64_t address, std::uint64_t length,
    std::uint32_t epoch, fabric::access rights, std::span<const lane_key> keys) noexcept
{
    const bool range = length != 0 && length - 1 <= std::numeric_limits<std::uint64_t>::max() - address;
    const bool allowed = rights != fabric::access::none && has_access(remote_rights, rights);
    if (id == 0 || !range || !allowed || keys.empty() || keys.size() > lanes_max || !ascending(keys)) {
        return make_error_code(errc::invalid_argument);
    }
    remote_buffer made;
    made.id_ = id;
    made.address_ = address;
    made.length_ = length;
    made.epoch_ = epoch;
    made.rights_ = rights;
    made.key_count_ = keys.size();
    std::copy(keys.begin(), keys.end(), made.keys_.begin());
    return made;
}

remote_buffer remote_buffer::slice(std::uint64_t offset, std::uint64_t length) const
{
    if (offset > length_ || length > length_ - offset) {
        throw std::out_of_range("penstock: slice beyond its remote buffer");
    }
    auto part = *this;
    part.address_ += offset;
    part.length_ = length;
    return part;
}

std::size_t remote_buffer::encode(std::span<std::byte> into) const noexcept
{
    const std::size_t bytes = header_bytes + key_count_ * key_bytes;
    if (empty() || into.size() < bytes) {
        return 0;
    }
    store(into, 0, version);
    store(into, 1, encode_rights(rights_));
    store(into, 2, static_cast<std::uint8_t>(key_count_));
    store(into, 3, std::uint8_t{0});
    store(into, 4, epoch_);
    store(into, 8, id_);
    store(into, 16, address_);
    store(into, 24, length_);
    std::size_t offset = header_bytes;
    for (const auto& key : keys()) {
        store(into, offset, key.lane);
        store(into, offset + 2, std::uint16_t{0});
        store(into, offset + 4, key.rkey);
        offset += key_bytes;
    }
    return bytes;
}

result<remote_buffer> remote_buffer::decode(std::span<const std::byte> from) noexcept
{
    if (from.size() < header_bytes) {
        return make_error_code(errc::malformed_message);
    }
    if (load<std::uint8_t>(from, 0) != version) {
        return make_error_code(errc::unsupported_version);
    }
    const auto rights = load<std::uint8_t>(from, 1);
    const std::size_t count = load<std::uint8_t>(from, 2);
    const bool known = (rights & ~(right_read | right_write | right_atomic)) == 0;
    if (!known || count > lanes_max || load<std::uint8_t>(from, 3) != 0
        || from.size() != header_bytes + count * key_bytes) {
        return make_error_code(errc::malformed_message);
    }
    std::array<lane_key, lanes_max> keys{};
    for (std::size_t index = 0; index != count; ++index) {
        const auto field = from.subspan(header_bytes + index * key_bytes, key_bytes);
        keys[index] = {load<std::uint16_t>(field, 0), load<std::uint32_t>(field, 4)};
        if (load<std::uint16_t>(field, 2) != 0) {
            return make_error_code(errc::malformed_message);
        }
    }
    const auto made = make(load<std::uint64_t>(from, 8), load<std::uint64_t>(from, 16), load<std::uint64_t>(from, 24),
        load<std::uint32_t>(from, 4), decode_rights(rights), std::span(keys).first(count));
    return made ? made : make_error_code(errc::malformed_message);
}

} // namespace penstock::transfer
