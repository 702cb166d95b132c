#pragma once

// What the two processes of the fence test say to each other.

#include <penstock/transfer/remote_buffer.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

namespace penstock::fence_test {

/// "Write all of `to`, in four pieces, `delay` from now."
struct order {
    std::uint64_t operation = 0;
    std::uint32_t delay_us = 0;
    std::uint32_t rude = 0; ///< 1: do not answer a revocation, and write all the same
    transfer::remote_buffer to{};
};

inline constexpr std::size_t order_header = 16;

inline std::size_t encode(const order& what, std::span<std::byte> into)
{
    std::memcpy(into.data(), &what.operation, 8);
    std::memcpy(into.data() + 8, &what.delay_us, 4);
    std::memcpy(into.data() + 12, &what.rude, 4);
    return order_header + what.to.encode(into.subspan(order_header));
}

inline std::optional<order> decode(std::span<const std::byte> from)
{
    if (from.size() < order_header) {
        return std::nullopt;
    }
    order what;
    std::memcpy(&what.operation, from.data(), 8);
    std::memcpy(&what.delay_us, from.data() + 8, 4);
    std::memcpy(&what.rude, from.data() + 12, 4);
    const auto to = transfer::remote_buffer::decode(from.subspan(order_header));
    if (!to) {
        return std::nullopt;
    }
    what.to = *to;
    return what;
}

inline constexpr std::size_t buffer_bytes = std::size_t{64} << 10U;
inline constexpr std::byte written_by_peer{0xee}; ///< no pattern of the owner's

} // namespace penstock::fence_test
