#include "fabric/tcp/key_table.hpp"

#include <thread>

namespace penstock::fabric::tcp {
namespace {

constexpr std::uint64_t users_mask = (1ULL << 24U) - 1;
constexpr std::uint64_t bound_one = 1ULL << 24U;
constexpr std::uint64_t bound_mask = users_mask << 24U;
constexpr unsigned tag_shift = 48;
constexpr std::uint64_t alive_bit = 1ULL << 56U;

constexpr std::uint8_t tag_of(std::uint64_t state) noexcept
{
    return static_cast<std::uint8_t>(state >> tag_shift);
}

bool names(std::uint64_t state, std::uint32_t key) noexcept
{
    return (state & alive_bit) != 0 && tag_of(state) == static_cast<std::uint8_t>(key);
}

/// The range check cannot overflow: the offset is compared before the length.
bool inside(const key_grant& grant, std::uint64_t address, std::uint64_t length) noexcept
{
    return address >= grant.base && address - grant.base <= grant.length
        && length <= grant.length - (address - grant.base);
}

} // namespace

bool key_table::covers(const key_grant& grant, const key_request& request) noexcept
{
    if (grant.domain != request.domain || !has_access(grant.rights, request.rights))
        return false;
    if (grant.kind == key_kind::window && (!request.remote || grant.owner != request.queue_pair))
        return false;
    return inside(grant, request.address, request.length);
}

key_table::key_table(random_source& random)
    : random_(random)
{}

bool key_table::reserve(std::uint32_t& index)
{
    const std::lock_guard lock(mutex_);
    if (free_.empty()) {
        const auto number = owned_.size();
        if (number == chunks_.size())
            return false;
        owned_.push_back(std::make_unique<chunk>());
        free_.reserve((number + 1) * chunk_entries);
        const auto first = static_cast<std::uint32_t>(number * chunk_entries);
        for (std::uint32_t i = chunk_entries; i-- > 0;) {
            if (first + i != 0) // with the tag 0 its key would be 0: what a peer sends that forgot the key
                free_.push_back(first + i);
        }
        auto& made = *owned_.back();
        for (auto& entry : made)
            entry.next_tag_ = static_cast<std::uint8_t>(random_.next());
        chunks_[number].store(&made, std::memory_order_release);
    }
    index = free_.back();
    free_.pop_back();
    return true;
}

void key_table::release(std::uint32_t index)
{
    const std::lock_guard lock(mutex_);
    free_.push_back(index);
}

key_entry* key_table::find(std::uint32_t index) const noexcept
{
    if (index >= entries_max)
        return nullptr;
    auto* found = chunks_[index / chunk_entries].load(std::memory_order_acquire);
    return found ? &(*found)[index % chunk_entries] : nullptr;
}

std::uint32_t key_table::fresh_key(std::uint32_t index) noexcept
{
    return index << 8U | find(index)->next_tag_++;
}

bool key_table::alive(std::uint32_t index) const noexcept
{
    return (find(index)->state_.load(std::memory_order_relaxed) & alive_bit) != 0;
}

void key_table::enliven(std::uint32_t key, const key_grant& grant) noexcept
{
    auto& entry = *find(key >> 8U);
    entry.grant_ = grant;
    // Strays that enter and leave at once may be counted right now: only the tag and the alive bit are ours to set.
    auto seen = entry.state_.load(std::memory_order_relaxed);
    std::uint64_t wanted = 0;
    do {
        wanted = (seen & (users_mask | bound_mask)) | static_cast<std::uint64_t>(key & 0xffU) << tag_shift | alive_bit;
    } while (!entry.state_.compare_exchange_weak(seen, wanted, std::memory_order_release, std::memory_order_relaxed));
}

key_entry* key_table::enter_alive(std::uint32_t key) noexcept
{
    auto* entry = find(key >> 8U);
    if (!entry)
        return nullptr;
    if (names(entry->state_.fetch_add(1, std::memory_order_acquire), key))
        return entry;
    leave(*entry);
    return nullptr;
}

key_entry* key_table::enter(const key_request& request) noexcept
{
    auto* entry = enter_alive(request.key);
    if (entry && !covers(entry->grant_, request)) {
        leave(*entry);
        return nullptr;
    }
    return entry;
}

void key_table::wait_until_left(key_entry& entry) noexcept
{
    while ((entry.state_.load(std::memory_order_acquire) & users_mask) != 0)
        std::this_thread::yield();
}

bool key_table::end_any_window(std::uint32_t key) noexcept
{
    auto* entry = find(key >> 8U);
    if (!entry)
        return false;
    auto seen = entry->state_.load(std::memory_order_relaxed);
    do {
        if (!names(seen, key))
            return false;
    } while (!entry->state_.compare_exchange_weak(seen, seen & ~alive_bit, std::memory_order_acq_rel));
    wait_until_left(*entry);
    unbind(entry->grant_.region);
    return true;
}

bool key_table::end_window(std::uint32_t key, std::uint32_t queue_pair) noexcept
{
    auto* entry = enter_alive(key);
    if (!entry)
        return false;
    const bool owned = entry->grant_.kind == key_kind::window && entry->grant_.owner == queue_pair;
    leave(*entry);
    return owned && end_any_window(key);
}

error_code key_table::end_region(std::uint32_t key) noexcept
{
    auto& entry = *find(key >> 8U);
    auto seen = entry.state_.load(std::memory_order_relaxed);
    do {
        if (!names(seen, key))
            return errc::wrong_state;
        if ((seen & bound_mask) != 0)
            return errc::region_in_use;
    } while (!entry.state_.compare_exchange_weak(seen, seen & ~alive_bit, std::memory_order_acq_rel));
    wait_until_left(entry);
    return {};
}

bool key_table::bind(std::uint32_t region_key, const key_request& wanted) noexcept
{
    auto* entry = enter_alive(region_key);
    if (!entry)
        return false;
    const auto& grant = entry->grant_;
    const bool allowed = grant.kind == key_kind::region && grant.domain == wanted.domain
        && has_access(grant.rights, wanted.rights) && inside(grant, wanted.address, wanted.length);
    // Counted while inside: a deregistration either sees the window or has already made this fail.
    bool bound = false;
    if (allowed) {
        auto seen = entry->state_.load(std::memory_order_relaxed);
        do {
            bound = names(seen, region_key) && (seen & bound_mask) != bound_mask;
        } while (bound && !entry->state_.compare_exchange_weak(seen, seen + bound_one, std::memory_order_acq_rel));
    }
    leave(*entry);
    return bound;
}

void key_table::unbind(std::uint32_t region_key) noexcept
{
    find(region_key >> 8U)->state_.fetch_sub(bound_one, std::memory_order_acq_rel);
}

} // namespace penstock::fabric::tcp
