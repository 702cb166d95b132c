#pragma once

// Little-endian fields at fixed offsets of a message.

#include <boost/endian/conversion.hpp>

#include <cstddef>
#include <cstring>
#include <span>

namespace penstock::core {

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

} // namespace penstock::core
