#include "memory/arena.hpp"

#include <algorithm>
#include <bit>
#include <limits>

#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace penstock::memory {
namespace {

constexpr std::size_t huge_page_bytes = std::size_t{2} << 20U;
constexpr int huge_page_flag = 21 << 26; // MAP_HUGE_2MB, which <sys/mman.h> does not name everywhere

std::byte* map(std::size_t bytes, int flags) noexcept
{
    void* const address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    return address == MAP_FAILED ? nullptr : static_cast<std::byte*>(address);
}

// Aligned to a huge page: one that is not gets none at its ends.
std::byte* map_aligned(std::size_t bytes) noexcept
{
    auto* const mapped = map(bytes + huge_page_bytes, 0);
    if (mapped == nullptr) {
        return nullptr;
    }
    const auto address = reinterpret_cast<std::uintptr_t>(mapped);
    const std::size_t before = (huge_page_bytes - address % huge_page_bytes) % huge_page_bytes;
    if (before != 0) {
        ::munmap(mapped, before);
    }
    ::munmap(mapped + before + bytes, huge_page_bytes - before);
    return mapped + before;
}

struct pages {
    std::byte* data;
    page_kind kind;
};

pages map_pages(std::size_t bytes, bool huge_pages) noexcept
{
    if (huge_pages && bytes % huge_page_bytes == 0) {
        // Reserves the pages or fails: touching them later cannot.
        if (auto* const data = map(bytes, MAP_HUGETLB | huge_page_flag)) {
            return {data, page_kind::huge};
        }
    }
    if (!huge_pages || bytes < huge_page_bytes) {
        return {map(bytes, 0), page_kind::small};
    }
    auto* const data = map_aligned(bytes);
    const bool advised = data != nullptr && ::madvise(data, bytes, MADV_HUGEPAGE) == 0;
    return {data, advised ? page_kind::transparent : page_kind::small};
}

// A preference: where the node has no memory left, another is as good as none.
bool prefer_node(std::span<std::byte> bytes, int node) noexcept
{
    constexpr int bits = std::numeric_limits<unsigned long>::digits;
    if (node < 0 || node >= bits) {
        return false;
    }
    const unsigned long mask = 1UL << static_cast<unsigned>(node);
    return ::syscall(SYS_mbind, bytes.data(), bytes.size(), MPOL_PREFERRED, &mask, bits + 1, 0U) == 0;
}

} // namespace

unsigned order_for(std::size_t bytes) noexcept
{
    return static_cast<unsigned>(std::bit_width((bytes - 1) / unit_bytes));
}

result<std::unique_ptr<arena>> arena::create(
    std::size_t bytes, std::span<fabric::protection_domain* const> domains, const arena_options& options)
{
    const auto mapped = map_pages(bytes, options.huge_pages);
    if (mapped.data == nullptr) {
        return make_error_code(errc::no_memory);
    }
    auto made = std::unique_ptr<arena>(new arena({mapped.data, bytes}, mapped.kind));
    made->on_node_ = prefer_node(made->bytes_, options.numa_node); // before registration touches the pages
    auto range = registered_range::create(made->bytes_, domains, std::numeric_limits<std::size_t>::max());
    if (!range) {
        return range.error();
    }
    made->range_ = std::move(*range);
    made->blocks_ = std::make_unique<block[]>(made->units());
    for (std::size_t unit = 0; unit != made->units(); ++unit) {
        made->blocks_[unit].home = made.get();
    }
    return made;
}

arena::~arena()
{
    if (range_ == nullptr || !range_->deregister().failed()) {
        ::munmap(bytes_.data(), bytes_.size());
    }
}

} // namespace penstock::memory
