#pragma once

// Posted receives: a queue of slots, fixed in size when made. Serves one queue pair, or many as a shared receive queue.

#include <penstock/fabric/queue_pair.hpp>

#include <cstdint>
#include <vector>

namespace penstock::fabric::tcp {

class receive_pool {
public:
    static constexpr std::uint32_t none = ~0U;

    receive_pool(std::uint32_t depth, std::uint32_t segments_max);

    /// Errors: receive_queue_full, too_many_segments.
    post_result post(std::span<const receive_request> requests) noexcept;

    /// Takes the oldest receive; `none` when there is none. Release it when its completion has been taken.
    std::uint32_t claim() noexcept;
    void release(std::uint32_t slot) noexcept { free_.push_back(slot); } // capacity reserved: never allocates
    bool empty() const noexcept { return first_ == next_; }

    std::uint64_t id(std::uint32_t slot) const noexcept { return slots_[slot].id; }
    std::uint64_t bytes(std::uint32_t slot) const noexcept { return slots_[slot].bytes; }
    std::span<const local_segment> segments(std::uint32_t slot) const noexcept
    {
        return {segments_.data() + static_cast<std::size_t>(slot) * segments_max_, slots_[slot].segment_count};
    }

private:
    struct slot {
        std::uint64_t id = 0;
        std::uint64_t bytes = 0;
        std::uint32_t segment_count = 0;
    };

    std::uint32_t segments_max_;
    std::vector<slot> slots_;
    std::vector<local_segment> segments_; // segments_max_ per slot
    std::vector<std::uint32_t> free_;
    std::vector<std::uint32_t> posted_; // ring
    std::uint64_t first_ = 0;
    std::uint64_t next_ = 0;
};

} // namespace penstock::fabric::tcp
