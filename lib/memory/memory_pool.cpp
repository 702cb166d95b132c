#include <penstock/memory/memory_pool.hpp>

#include "memory/arena.hpp"
#include "memory/free_blocks.hpp"

#include <penstock/core/fork.hpp>

#include <algorithm>
#include <cassert>
#include <utility>

#include <unistd.h>

namespace penstock::memory {
namespace {

constexpr std::size_t buffer_limit = bytes_of_order(orders - 1);
constexpr std::size_t bytes_limit = std::size_t{1} << 47U; // an address space; rounding up cannot overflow
constexpr std::uintptr_t listening = 1;                    // in memory_pool::returned_

std::size_t round_up(std::size_t value, std::size_t unit)
{
    return (value + unit - 1) / unit * unit;
}

std::size_t page_bytes() noexcept
{
    return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

block* block_of(std::uintptr_t returned) noexcept
{
    return reinterpret_cast<block*>(returned & ~listening);
}

} // namespace

buffer::buffer(memory_pool& pool, block& home, local_buffer view) noexcept
    : pool_(&pool)
    , block_(&home)
    , view_(view)
{}

buffer::buffer(buffer&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr))
    , block_(std::exchange(other.block_, nullptr))
    , view_(std::exchange(other.view_, {}))
{}

buffer& buffer::operator=(buffer&& other) noexcept
{
    std::swap(pool_, other.pool_);
    std::swap(block_, other.block_);
    std::swap(view_, other.view_);
    return *this;
}

buffer::~buffer()
{
    if (pool_ != nullptr) {
        memory_pool::release(*pool_, *block_);
    }
}

memory_pool::memory_pool(std::vector<fabric::protection_domain*> domains, const memory_pool_options& options)
    : domains_(std::move(domains))
    , options_(options)
    , free_(std::make_unique<free_blocks>())
{
    if (core::forked()) {
        throw system_error(make_error_code(errc::forked), "memory pool");
    }
    if (options_.slice_bytes > buffer_limit || options_.arena_bytes > bytes_limit || options_.bytes_max > bytes_limit
        || options_.bytes_initial > bytes_limit) {
        throw system_error(make_error_code(errc::invalid_argument), "memory pool options");
    }
    const auto page = page_bytes();
    options_.slice_bytes = round_up(std::max<std::size_t>(options_.slice_bytes, 1), page);
    const auto least = bytes_of_order(order_for(options_.slice_bytes));
    options_.bytes_max = std::max(options_.bytes_max / page * page, least);
    options_.arena_bytes = std::max(round_up(options_.arena_bytes, page), least);
    while (counts_.bytes_registered < std::min(options_.bytes_initial, options_.bytes_max)) {
        if (const auto error = grow(unit_bytes); error.failed()) {
            throw system_error(error, "registering the memory pool");
        }
    }
}

memory_pool::~memory_pool()
{
    if (core::forked()) {
        return;
    }
    take_returned();
    assert(counts_.in_use == 0 && "a buffer outlives its pool");
}

result<buffer> memory_pool::acquire(std::size_t bytes)
{
    if (core::forked()) {
        return make_error_code(errc::forked);
    }
    if (bytes == 0 || bytes > buffer_limit) {
        return make_error_code(errc::invalid_argument);
    }
    if (block_of(returned_.load(std::memory_order_relaxed)) != nullptr) {
        take_returned();
    }
    const auto order = order_for(bytes);
    block* taken = free_->take(order);
    if (taken == nullptr) {
        free_->merge(order);
        taken = free_->take(order);
    }
    if (taken == nullptr) {
        if (const auto error = grow(bytes_of_order(order)); error.failed()) {
            return error;
        }
        taken = free_->take(order);
    }
    counts_.high_water = std::max(counts_.high_water, ++counts_.in_use);
    counts_.bytes_in_use += bytes_of_order(order);
    counts_.bytes_high_water = std::max(counts_.bytes_high_water, counts_.bytes_in_use);
    const arena& home = *taken->home;
    return buffer(*this, *taken, {{home.data_of(*taken), bytes}, home.range()});
}

bool memory_pool::could_hold(std::size_t bytes) const noexcept
{
    return bytes != 0 && bytes <= buffer_limit && bytes_of_order(order_for(bytes)) <= options_.bytes_max;
}

// With room for a block of `bytes`, a power of two.
error_code memory_pool::grow(std::size_t bytes)
{
    if (bytes > options_.bytes_max - counts_.bytes_registered) {
        drop_free_arenas(bytes);
    }
    const auto room = options_.bytes_max - counts_.bytes_registered;
    if (bytes > room) {
        return errc::pool_exhausted;
    }
    auto added = arena::create(
        std::clamp(options_.arena_bytes, bytes, room), domains_, {options_.huge_pages, options_.numa_node});
    if (!added) {
        return added.error();
    }
    arenas_.push_back(std::move(*added));
    free_->add(*arenas_.back());
    counts_.bytes_registered += arenas_.back()->bytes().size();
    return {};
}

// Memory nobody uses, in pieces too small, makes room for `bytes` in one; none of it where that is not enough.
void memory_pool::drop_free_arenas(std::size_t bytes) noexcept
{
    std::size_t unused = 0;
    for (const auto& each : arenas_) {
        unused += each->blocks_out == 0 ? each->bytes().size() : 0;
    }
    if (counts_.bytes_registered - unused + bytes > options_.bytes_max) {
        return;
    }
    for (auto each = arenas_.begin(); each != arenas_.end();) {
        if (counts_.bytes_registered + bytes <= options_.bytes_max) {
            return;
        }
        if ((*each)->blocks_out != 0) {
            ++each;
            continue;
        }
        free_->remove(**each);
        counts_.bytes_registered -= (*each)->bytes().size();
        each = arenas_.erase(each);
    }
}

void memory_pool::quarantine(buffer doomed) noexcept
{
    const auto* const held = std::exchange(doomed.block_, nullptr);
    if (std::exchange(doomed.pool_, nullptr) == nullptr) {
        return;
    }
    const auto bytes = bytes_of_order(held->order);
    --counts_.in_use;
    counts_.bytes_in_use -= bytes;
    ++counts_.quarantined;
    counts_.bytes_quarantined += bytes;
}

memory_pool_statistics memory_pool::statistics() noexcept
{
    take_returned();
    free_->merge(orders - 1);
    auto told = counts_;
    told.bytes_max = options_.bytes_max;
    for (const auto& each : arenas_) {
        const auto bytes = each->bytes().size();
        told.bytes_huge += each->kind() == page_kind::huge ? bytes : 0;
        told.bytes_transparent += each->kind() == page_kind::transparent ? bytes : 0;
        told.bytes_on_node += each->on_node() ? bytes : 0;
    }
    if (free_->bytes() != 0) {
        told.fragmentation = 1.0 - static_cast<double>(free_->largest_bytes()) / static_cast<double>(free_->bytes());
    }
    return told;
}

void memory_pool::watch_returns(bool watching) noexcept
{
    watching_ = watching;
    take_returned();
}

// A stack that only its owner empties, all at once: nothing can go wrong between reading its head and replacing it.
void memory_pool::release(memory_pool& pool, block& returned) noexcept
{
    // The pool may be gone as soon as the block is back.
    std::shared_ptr<return_listener> listener;
    auto head = pool.returned_.load(std::memory_order_acquire);
    do {
        if ((head & listening) != 0 && listener == nullptr) {
            listener = pool.listener_;
        }
        returned.next_returned = block_of(head);
    } while (!pool.returned_.compare_exchange_weak(
        head, reinterpret_cast<std::uintptr_t>(&returned), std::memory_order_acq_rel, std::memory_order_acquire));
    if ((head & listening) != 0) {
        listener->returned();
    }
}

void memory_pool::take_returned() noexcept
{
    const auto head = returned_.exchange(watching_ ? listening : 0, std::memory_order_acq_rel);
    for (block* next = block_of(head); next != nullptr;) {
        block& each = *std::exchange(next, next->next_returned);
        --counts_.in_use;
        counts_.bytes_in_use -= bytes_of_order(each.order);
        free_->put(each);
    }
}

} // namespace penstock::memory
