#pragma once

// What the messages' .cpp files share: fields, and the rule for an object's description.

#include "core/little_endian.hpp"
#include "storage/messages.hpp"

namespace penstock::storage {

using core::load;
using core::store;

inline bool is_valid(const object_info& info) noexcept
{
    if (info.permissions > permissions_mask)
        return false;
    return info.kind == object_kind::file ? info.size <= object_bytes_max
                                          : info.kind == object_kind::directory && info.size == 0;
}

} // namespace penstock::storage
