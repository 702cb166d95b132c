#pragma once

// The windows that the requests posted on one queue pair have left bound, by key.
//
// A device knows this too, but it is asked too late: SoftRoCE panics when an invalid window is invalidated, and
// devices differ in what deregistering a region with a bound window does.
//
// Threads: the queue pair's.

#include <boost/intrusive/unordered_set.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace penstock::fabric::verbs {

class window_table;

/// The part of a window the table holds. Ownership: the window's; the window leaves the table before it dies.
struct window_entry
    : boost::intrusive::unordered_set_base_hook<boost::intrusive::link_mode<boost::intrusive::safe_link>> {
    std::uint32_t bound_key = 0;
    window_table* table = nullptr;                      ///< that holds it; null while not bound
    std::atomic<std::uint32_t>* holders = nullptr;      ///< the region's count of windows bound to it, while bound
    std::atomic<std::uint32_t>* last_holders = nullptr; ///< as it was before the window left the table
};

class window_table {
public:
    window_table()
        : entries_(set::bucket_traits(buckets_.data(), buckets_.size()))
    {}

    window_table(const window_table&) = delete;
    window_table& operator=(const window_table&) = delete;
    ~window_table()
    {
        remove_all([](window_entry&) {});
    }

    void insert(window_entry& entry, std::uint32_t key, std::atomic<std::uint32_t>& holders) noexcept
    {
        entry.bound_key = key;
        entry.table = this;
        entry.holders = &holders;
        holders.fetch_add(1, std::memory_order_relaxed);
        entries_.insert(entry);
    }

    window_entry* find(std::uint32_t key) noexcept
    {
        const auto found = entries_.find(key, hash_key{}, equal_key{});
        return found == entries_.end() ? nullptr : &*found;
    }

    void remove(window_entry& entry) noexcept
    {
        entries_.erase(entries_.iterator_to(entry));
        entry.holders->fetch_sub(1, std::memory_order_release);
        entry.table = nullptr;
        entry.last_holders = std::exchange(entry.holders, nullptr);
    }

    template <class Function>
    void remove_all(Function function) noexcept
    {
        while (!entries_.empty()) {
            window_entry& entry = *entries_.begin();
            remove(entry);
            function(entry);
        }
    }

private:
    // The low byte changes with every bind; what is above it names the window.
    struct hash_key {
        std::size_t operator()(std::uint32_t key) const noexcept { return key >> 8U; }
    };
    struct hash_entry {
        std::size_t operator()(const window_entry& entry) const noexcept { return hash_key{}(entry.bound_key); }
    };
    struct equal_key {
        bool operator()(std::uint32_t key, const window_entry& entry) const noexcept { return key == entry.bound_key; }
    };
    struct equal_entry {
        bool operator()(const window_entry& a, const window_entry& b) const noexcept
        {
            return a.bound_key == b.bound_key;
        }
    };

    using set = boost::intrusive::unordered_multiset<window_entry, boost::intrusive::hash<hash_entry>,
        boost::intrusive::equal<equal_entry>, boost::intrusive::constant_time_size<false>,
        boost::intrusive::power_2_buckets<true>>;

    std::array<set::bucket_type, 32> buckets_{};
    set entries_;
};

} // namespace penstock::fabric::verbs
