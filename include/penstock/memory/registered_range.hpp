#pragma once

// A range of memory and its registrations on every device.

#include <penstock/core/error.hpp>
#include <penstock/fabric/memory.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace penstock::memory {

/// Memory registered for local use and for windows, never with a remote right: what a peer may reach, and for how long, is
/// decided by a window. A long range is split into regions of equal length, whose borders are those of pages.
///
/// Ownership: the bytes belong to the caller and must outlive this; child of the protection domains.
/// Threads: const members any. Allocation: none after create().
class registered_range {
public:
    /// Registers `bytes` on each of `domains`, in regions of at most `region_bytes_max` (rounded down to a power of two, at
    /// least a page). All or nothing. Blocks for milliseconds: not for a poller's thread.
    /// Errors: invalid_argument (no bytes); else what register_memory() says.
    static result<std::unique_ptr<registered_range>> create(
        std::span<std::byte> bytes, std::span<fabric::protection_domain* const> domains, std::size_t region_bytes_max);

    registered_range(const registered_range&) = delete;
    registered_range& operator=(const registered_range&) = delete;
    /// Deregisters; a region that cannot be is leaked and stays pinned.
    ~registered_range() = default;

    /// Ends all use of these bytes by devices. Blocks. Errors: region_in_use while a window is bound; the first of them, after
    /// all regions were tried.
    error_code deregister();

    std::span<std::byte> bytes() const noexcept { return bytes_; }
    std::size_t region_count() const noexcept { return regions_.size(); }

    /// `at` must lie inside bytes(), `device_index` below the number of domains.
    fabric::memory_region* region(const std::byte* at, std::size_t device_index) const noexcept
    {
        return regions_[index_of(at, device_index)].get();
    }
    std::uint32_t lkey(const std::byte* at, std::size_t device_index) const noexcept
    {
        return lkeys_[index_of(at, device_index)];
    }
    /// Bytes from `at` to the end of its region.
    std::size_t bytes_in_region(const std::byte* at) const noexcept
    {
        const auto offset = static_cast<std::size_t>(at - base_);
        const auto border = ((offset >> region_shift_) + 1) << region_shift_;
        const auto end = static_cast<std::size_t>(bytes_.data() + bytes_.size() - base_);
        return std::min(border, end) - offset;
    }

private:
    registered_range(std::span<std::byte> bytes, std::size_t devices, std::size_t region_bytes_max) noexcept;

    std::size_t index_of(const std::byte* at, std::size_t device_index) const noexcept
    {
        return (static_cast<std::size_t>(at - base_) >> region_shift_) * devices_ + device_index;
    }

    std::span<std::byte> bytes_;
    const std::byte* base_; // the first byte's page: regions end at multiples of their length from here
    std::size_t devices_;
    unsigned region_shift_;
    std::vector<std::unique_ptr<fabric::memory_region>> regions_;
    std::vector<std::uint32_t> lkeys_;
};

} // namespace penstock::memory
