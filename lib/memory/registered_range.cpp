#include <penstock/memory/registered_range.hpp>

#include <penstock/memory/local_buffer.hpp>

#include <bit>
#include <stdexcept>
#include <utility>

#include <unistd.h>

namespace penstock::memory {
namespace {

std::size_t page_bytes() noexcept
{
    static const auto bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    return bytes;
}

} // namespace

registered_range::registered_range(
    std::span<std::byte> bytes, std::size_t devices, std::size_t region_bytes_max) noexcept
    : bytes_(bytes)
    , base_(bytes.data() - reinterpret_cast<std::uintptr_t>(bytes.data()) % page_bytes())
    , devices_(devices)
    , region_shift_(static_cast<unsigned>(std::bit_width(std::max(region_bytes_max, page_bytes())) - 1))
{}

result<std::unique_ptr<registered_range>> registered_range::create(
    std::span<std::byte> bytes, std::span<fabric::protection_domain* const> domains, std::size_t region_bytes_max)
{
    if (bytes.empty()) {
        return make_error_code(errc::invalid_argument);
    }
    auto made = std::unique_ptr<registered_range>(new registered_range(bytes, domains.size(), region_bytes_max));
    std::size_t offset = 0;
    while (offset != bytes.size()) {
        const auto length = made->bytes_in_region(bytes.data() + offset);
        for (auto* domain : domains) {
            auto region = domain->register_memory(
                bytes.subspan(offset, length), fabric::access::local_write | fabric::access::window_bind);
            if (!region) {
                return region.error();
            }
            made->lkeys_.push_back((*region)->lkey());
            made->regions_.push_back(std::move(*region));
        }
        offset += length;
    }
    return made;
}

error_code registered_range::deregister()
{
    error_code first;
    for (auto& region : regions_) {
        if (region == nullptr) {
            continue;
        }
        if (const auto error = region->deregister(); !error.failed()) {
            region.reset();
        } else if (!first.failed()) {
            first = error;
        }
    }
    return first;
}

local_buffer local_buffer::slice(std::size_t offset, std::size_t length) const
{
    if (offset > bytes_.size() || length > bytes_.size() - offset) {
        throw std::out_of_range("penstock: slice beyond its buffer");
    }
    auto part = *this;
    part.bytes_ = bytes_.subspan(offset, length);
    return part;
}

} // namespace penstock::memory
