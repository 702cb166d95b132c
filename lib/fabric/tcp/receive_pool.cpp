#include "fabric/tcp/receive_pool.hpp"

#include <algorithm>

namespace penstock::fabric::tcp {

receive_pool::receive_pool(std::uint32_t depth, std::uint32_t segments_max)
    : segments_max_(segments_max)
    , slots_(depth)
    , segments_(static_cast<std::size_t>(depth) * segments_max)
    , posted_(depth)
{
    free_.reserve(depth);
    for (std::uint32_t i = depth; i-- > 0;)
        free_.push_back(i);
}

post_result receive_pool::post(std::span<const receive_request> requests) noexcept
{
    post_result result;
    for (const auto& request : requests) {
        if (request.local.size() > segments_max_) {
            result.error = errc::too_many_segments;
            return result;
        }
        if (free_.empty()) {
            result.error = errc::receive_queue_full;
            return result;
        }
        const auto index = free_.back();
        free_.pop_back();
        auto& taken = slots_[index];
        taken = {request.id, 0, static_cast<std::uint32_t>(request.local.size())};
        for (const auto& segment : request.local)
            taken.bytes += segment.length;
        std::ranges::copy(
            request.local, segments_.begin() + static_cast<std::ptrdiff_t>(std::size_t{index} * segments_max_));
        posted_[next_++ % posted_.size()] = index;
        ++result.posted;
    }
    return result;
}

std::uint32_t receive_pool::claim() noexcept
{
    return empty() ? none : posted_[first_++ % posted_.size()];
}

} // namespace penstock::fabric::tcp
