#pragma once

// What the pool has free: a list for each order. A block is split when there is no smaller one, and only merged with its
// neighbours when a larger one is wanted and missing: the same sizes come and go without either.

#include "memory/arena.hpp"

#include <array>
#include <cstddef>

namespace penstock::memory {

/// Threads: one. Allocation: none.
class free_blocks {
public:
    /// A block of that order, out of its list; split off a larger one if need be. Null when there is none.
    block* take(unsigned order) noexcept;
    /// O(1).
    void put(block& returned) noexcept;

    /// Merges free neighbours as long as that gives blocks of at most `order`.
    void merge(unsigned order) noexcept;

    /// All of an arena, none of it handed out.
    void add(arena& added) noexcept;
    void remove(arena& removed) noexcept;

    std::size_t bytes() const noexcept { return bytes_; }
    /// The largest block; 0 when there is none.
    std::size_t largest_bytes() const noexcept;

private:
    void link(block& b, unsigned order) noexcept;
    void unlink(block& b) noexcept;
    block* twin_of(const block& b) const noexcept;

    std::array<boost::intrusive::list<block, boost::intrusive::constant_time_size<false>>, orders> lists_;
    std::size_t bytes_ = 0;
};

} // namespace penstock::memory
