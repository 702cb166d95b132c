#pragma once

// Little-endian fields at fixed offsets, and the rule for an object's description: shared by the messages' .cpp files.

#include "storage/messages.hpp"

#include <boost/endian/conversion.hpp>

#include <cstring>

namespace penstock::storage {

/// The caller has checked that the field lies within `bytes`.
template <class Value>
Value load(std::span<const std::byte> bytes, std::size_t offset) noexcept
{
    Value value;
    std::memcpy(&value, bytes.subspan(offset, sizeof value).data(), sizeof value);
    return boost::endian::little_to_native(value);
}

template <class Value>
void store(std::span<std::byte> bytes, std::size_t offset, Value value) noexcept
{
    boost::endian::native_to_little_inplace(value);
    std::memcpy(bytes.subspan(offset, sizeof value).data(), &value, sizeof value);
}

inline bool is_valid(const object_info& info) noexcept
{
    if (info.permissions > permissions_mask)
        return false;
    return info.kind == object_kind::file ? info.size <= object_bytes_max
                                          : info.kind == object_kind::directory && info.size == 0;
}

} // namespace penstock::storage
