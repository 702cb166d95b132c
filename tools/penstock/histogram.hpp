#pragma once

// Latencies in fixed memory: buckets that are linear within each power of two, so that every value is known to 1/64 of
// itself (1.6 %) whatever its magnitude.

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace penstock::command {

/// Threads: one. Allocation: when it is made.
class histogram {
public:
    void add(std::uint64_t value) noexcept
    {
        ++buckets_[index_of(value)];
        ++count_;
        minimum_ = std::min(minimum_, value);
        maximum_ = std::max(maximum_, value);
    }

    std::uint64_t count() const noexcept { return count_; }
    std::uint64_t minimum() const noexcept { return count_ == 0 ? 0 : minimum_; }
    std::uint64_t maximum() const noexcept { return maximum_; }

    /// A value that at least `share` (0 to 1) of all values do not exceed: the upper end of the bucket in which that
    /// share is reached, and never more than the largest value. 0 when empty.
    std::uint64_t quantile(double share) const noexcept
    {
        if (count_ == 0) {
            return 0;
        }
        const double wanted = std::clamp(share, 0.0, 1.0) * static_cast<double>(count_);
        std::uint64_t seen = 0;
        for (std::size_t i = 0; i != buckets_.size(); ++i) {
            seen += buckets_[i];
            if (seen != 0 && static_cast<double>(seen) >= wanted) {
                return std::clamp(upper_end(i), minimum_, maximum_);
            }
        }
        return maximum_;
    }

    void clear() noexcept { *this = histogram{}; }

private:
    static constexpr unsigned linear_bits = 6;
    static constexpr std::uint64_t linear = std::uint64_t{1} << linear_bits;
    // Values below 64 have a bucket each; above, every power of two from 2^6 to 2^63 has 64.
    static constexpr std::size_t bucket_count = linear * (64 - linear_bits + 1);

    static std::size_t index_of(std::uint64_t value) noexcept
    {
        if (value < linear) {
            return static_cast<std::size_t>(value);
        }
        const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - 1 - linear_bits;
        const std::uint64_t within = (value >> shift) - linear;
        return static_cast<std::size_t>(linear * (shift + 1) + within);
    }

    static std::uint64_t upper_end(std::size_t index) noexcept
    {
        if (index < linear) {
            return index;
        }
        const auto shift = static_cast<unsigned>(index / linear - 1);
        const std::uint64_t within = linear + index % linear;
        return (within << shift) + ((std::uint64_t{1} << shift) - 1);
    }

    // 30 KiB: too much for a coroutine's frame
    std::vector<std::uint64_t> buckets_ = std::vector<std::uint64_t>(bucket_count);
    std::uint64_t count_ = 0;
    std::uint64_t minimum_ = ~std::uint64_t{0};
    std::uint64_t maximum_ = 0;
};

} // namespace penstock::command
