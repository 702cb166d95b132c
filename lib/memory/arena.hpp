#pragma once

// Memory of the pool: mapped and registered at once, handed out in blocks.

#include <penstock/memory/registered_range.hpp>

#include <boost/intrusive/list.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace penstock::memory {

class arena;

/// What an arena's memory is made of.
enum class page_kind : std::uint8_t {
    small,
    transparent, ///< the kernel was asked for huge pages and gives them as it can
    huge,        ///< 2 MiB pages that the machine had set aside
};

inline constexpr std::size_t unit_bytes = 4'096; ///< the smallest block
inline constexpr unsigned orders = 20;           ///< blocks of 4 KiB << 0 to 4 KiB << 19

/// The smallest order whose blocks have room for `bytes`, which is neither 0 nor more than 2 GiB.
unsigned order_for(std::size_t bytes) noexcept;

/// One for each unit of an arena, beside the registered memory and not in it. It means something where a block begins.
struct block : boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>> {
    arena* home = nullptr;
    block* next_returned = nullptr; // in the stack of what was given back
    std::uint8_t order = 0;
    bool free = false; // in the list of its order
};

inline constexpr std::size_t bytes_of_order(unsigned order) noexcept
{
    return unit_bytes << order;
}

struct arena_options {
    bool huge_pages = true;
    int numa_node = -1;
};

/// Anonymous memory with one registration for each device.
class arena {
public:
    /// Errors: no_memory; what register_memory() says.
    static result<std::unique_ptr<arena>> create(
        std::size_t bytes, std::span<fabric::protection_domain* const> domains, const arena_options& options);

    arena(const arena&) = delete;
    arena& operator=(const arena&) = delete;
    /// Memory that cannot be deregistered, because a peer may still reach it, is never given back.
    ~arena();

    std::span<std::byte> bytes() const noexcept { return bytes_; }
    page_kind kind() const noexcept { return kind_; }
    bool on_node() const noexcept { return on_node_; }
    const registered_range& range() const noexcept { return *range_; }

    std::size_t units() const noexcept { return bytes_.size() / unit_bytes; }
    block& block_at(std::size_t unit) noexcept { return blocks_[unit]; }
    std::size_t unit_of(const block& b) const noexcept { return static_cast<std::size_t>(&b - blocks_.get()); }
    std::byte* data_of(const block& b) const noexcept { return bytes_.data() + unit_of(b) * unit_bytes; }

    std::size_t blocks_out = 0; ///< handed out or quarantined

private:
    arena(std::span<std::byte> bytes, page_kind kind) noexcept
        : bytes_(bytes)
        , kind_(kind)
    {}

    std::span<std::byte> bytes_;
    page_kind kind_;
    bool on_node_ = false;
    std::unique_ptr<registered_range> range_;
    std::unique_ptr<block[]> blocks_;
};

} // namespace penstock::memory
