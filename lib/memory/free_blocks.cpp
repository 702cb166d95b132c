#include "memory/free_blocks.hpp"

#include <bit>

namespace penstock::memory {

void free_blocks::link(block& b, unsigned order) noexcept
{
    b.order = static_cast<std::uint8_t>(order);
    b.free = true;
    lists_[order].push_front(b); // the last one given back is the likeliest to be in a cache
    bytes_ += bytes_of_order(order);
}

void free_blocks::unlink(block& b) noexcept
{
    b.free = false;
    lists_[b.order].erase(lists_[b.order].iterator_to(b));
    bytes_ -= bytes_of_order(b.order);
}

block* free_blocks::take(unsigned order) noexcept
{
    unsigned from = order;
    while (from != orders && lists_[from].empty()) {
        ++from;
    }
    if (from == orders) {
        return nullptr;
    }
    block& taken = lists_[from].front();
    unlink(taken);
    arena& home = *taken.home;
    while (from != order) {
        --from;
        link(home.block_at(home.unit_of(taken) + (std::size_t{1} << from)), from);
    }
    taken.order = static_cast<std::uint8_t>(order);
    ++home.blocks_out;
    return &taken;
}

void free_blocks::put(block& returned) noexcept
{
    --returned.home->blocks_out;
    link(returned, returned.order);
}

// The other half of the block twice as large, if it is free as one.
block* free_blocks::twin_of(const block& b) const noexcept
{
    const auto length = std::size_t{1} << b.order;
    const auto unit = b.home->unit_of(b) ^ length;
    if (unit + length > b.home->units()) {
        return nullptr;
    }
    block& twin = b.home->block_at(unit);
    return twin.free && twin.order == b.order ? &twin : nullptr;
}

void free_blocks::merge(unsigned order) noexcept
{
    for (unsigned from = 0; from < order; ++from) {
        auto& list = lists_[from];
        for (auto next = list.begin(); next != list.end();) {
            block& one = *next++;
            block* const twin = twin_of(one);
            if (twin == nullptr) {
                continue;
            }
            if (next != list.end() && &*next == twin) {
                ++next;
            }
            unlink(one);
            unlink(*twin);
            link(one.home->unit_of(one) < one.home->unit_of(*twin) ? one : *twin, from + 1);
        }
    }
}

void free_blocks::add(arena& added) noexcept
{
    for (std::size_t unit = 0; unit != added.units();) {
        // The largest block that may begin here and still ends inside.
        unsigned order = static_cast<unsigned>(std::bit_width(added.units() - unit)) - 1;
        if (unit != 0) {
            order = std::min(order, static_cast<unsigned>(std::countr_zero(unit)));
        }
        order = std::min(order, orders - 1);
        link(added.block_at(unit), order);
        unit += std::size_t{1} << order;
    }
}

void free_blocks::remove(arena& removed) noexcept
{
    for (std::size_t unit = 0; unit != removed.units();) {
        block& each = removed.block_at(unit);
        unlink(each);
        unit += std::size_t{1} << each.order;
    }
}

std::size_t free_blocks::largest_bytes() const noexcept
{
    for (unsigned order = orders; order-- != 0;) {
        if (!lists_[order].empty()) {
            return bytes_of_order(order);
        }
    }
    return 0;
}

} // namespace penstock::memory
