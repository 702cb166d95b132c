#pragma once

// Receives in the device's form, a batch at a time on the stack.

#include <penstock/fabric/types.hpp>

#include <infiniband/verbs.h>

#include <array>
#include <cerrno>

namespace penstock::fabric::verbs {

/// Segments of one request the provider passes on; device_limits::segments_max is at most this.
inline constexpr std::uint32_t segments_supported = 32;

/// Requests per call of the device's post.
inline constexpr std::size_t post_batch = 32;

/// Posts with `post(ibv_recv_wr*, ibv_recv_wr**)`, which returns 0 or an errno.
template <class Post>
post_result post_receives(
    std::span<const receive_request> requests, std::uint32_t segments_max, std::size_t room, Post post)
{
    std::array<ibv_recv_wr, post_batch> batch; // both filled as far as they are posted
    std::array<ibv_sge, 2 * segments_supported> segments;
    post_result result;
    while (result.posted < requests.size()) {
        std::size_t count = 0;
        std::size_t used = 0;
        error_code refused;
        while (count < batch.size() && result.posted + count < requests.size()) {
            const receive_request& request = requests[result.posted + count];
            if (request.local.size() > segments_max)
                refused = errc::too_many_segments;
            else if (result.posted + count >= room)
                refused = errc::receive_queue_full;
            if (refused || used + request.local.size() > segments.size())
                break;
            ibv_sge* const first = segments.data() + used;
            for (const local_segment& segment : request.local)
                if (segment.length != 0)
                    segments[used++]
                        = {reinterpret_cast<std::uintptr_t>(segment.address), segment.length, segment.lkey};
            batch[count] = {request.id, nullptr, first, static_cast<int>(segments.data() + used - first)};
            if (count != 0)
                batch[count - 1].next = &batch[count];
            ++count;
        }
        if (count != 0) {
            ibv_recv_wr* bad = nullptr;
            if (const int error = post(batch.data(), &bad); error != 0) {
                result.posted += bad != nullptr ? static_cast<std::size_t>(bad - batch.data()) : 0;
                result.error = error == ENOMEM ? make_error_code(errc::receive_queue_full) : make_system_error(error);
                return result;
            }
            result.posted += count;
        }
        if (refused) {
            result.error = refused;
            return result;
        }
    }
    return result;
}

} // namespace penstock::fabric::verbs
