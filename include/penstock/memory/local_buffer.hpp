#pragma once

// Local memory as transfers see it: one view for buffers of the pool and for the application's registered memory.

#include <penstock/memory/registered_range.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace penstock::memory {

/// A piece of registered memory: what an operation reads from or writes to. It owns neither the bytes nor their registration.
///
/// Threads: any, while its owner (a buffer or a registration) lives; the bytes are not guarded. Allocation: none.
class local_buffer {
public:
    local_buffer() = default;
    /// `bytes` must lie inside `home`, which must outlive this. For the owners of registered memory.
    local_buffer(std::span<std::byte> bytes, const registered_range& home) noexcept
        : bytes_(bytes)
        , home_(&home)
    {}

    std::span<std::byte> bytes() const noexcept { return bytes_; }
    std::byte* data() const noexcept { return bytes_.data(); }
    std::size_t size() const noexcept { return bytes_.size(); }
    bool empty() const noexcept { return bytes_.empty(); }

    /// `length` bytes from `offset`. Both must lie inside this: checked, throws std::out_of_range.
    local_buffer slice(std::size_t offset, std::size_t length) const;

    /// The region of the first byte on the `device_index`-th device of the runtime; null for an empty view.
    fabric::memory_region* region(std::size_t device_index) const noexcept
    {
        return bytes_.empty() ? nullptr : home_->region(bytes_.data(), device_index);
    }

    /// How many bytes from the first on lie in one region: all of a pool's buffer; of a large registration, which is split,
    /// maybe fewer. A window cannot reach further.
    std::size_t region_bytes() const noexcept
    {
        return bytes_.empty() ? 0 : std::min(bytes_.size(), home_->bytes_in_region(bytes_.data()));
    }

    /// The longest beginning of this that one segment of a work request can name on that device. It is shorter than size()
    /// where the registration is split, or beyond `segment_bytes_max`; the rest is another slice().
    fabric::local_segment segment(std::size_t device_index) const noexcept
    {
        if (bytes_.empty()) { // its address may be the end of the last region
            return {};
        }
        const auto length = std::min(region_bytes(), segment_bytes_max);
        return {bytes_.data(), static_cast<std::uint32_t>(length), home_->lkey(bytes_.data(), device_index)};
    }

    static constexpr std::size_t segment_bytes_max = std::size_t{1} << 31U;

private:
    std::span<std::byte> bytes_{};
    const registered_range* home_ = nullptr;
};

} // namespace penstock::memory
