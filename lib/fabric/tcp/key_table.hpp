#pragma once

// The keys of one device. A key is index << 8 | tag; an access enters the entry, which checks that the key is alive, and
// leaves it when the bytes have moved. Whoever ends a key waits until nobody is inside.
//
// Threads: any. Entering and leaving take one atomic operation each and never wait; ending a key waits for accesses in
// progress, each of which is one system call or one copy long.

#include <penstock/core/random.hpp>
#include <penstock/fabric/types.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace penstock::fabric::tcp {

enum class key_kind : std::uint8_t { region, window };

/// What a key gives access to.
struct key_grant {
    key_kind kind = key_kind::region;
    access rights = access::none;
    std::uint32_t domain = 0; ///< protection domain
    std::uint32_t owner = 0;  ///< queue pair number; windows only
    std::uint32_t region = 0; ///< key of the region a window is bound to
    std::uint64_t base = 0;
    std::uint64_t length = 0;
};

class key_entry {
public:
    const key_grant& grant() const noexcept { return grant_; }

private:
    friend class key_table;

    // bits 0-23 accesses inside, 24-47 windows bound to it, 48-55 tag, 56 alive. In one word, so that entering learns
    // whether the key is alive in the same step as it counts itself.
    std::atomic<std::uint64_t> state_{0};
    key_grant grant_{}; // written only while the key is dead and nobody is inside
    std::uint8_t next_tag_ = 0;
};

/// A piece of memory that an access wants to reach; the entry's grant must cover it.
struct key_request {
    std::uint32_t key = 0;
    std::uint64_t address = 0;
    std::uint64_t length = 0;
    access rights = access::none;
    std::uint32_t domain = 0;
    std::uint32_t queue_pair = 0;
    bool remote = true; ///< false: a local segment, for which windows do not count
};

class key_table {
public:
    static constexpr std::uint32_t entries_max = 1U << 20U;

    explicit key_table(random_source& random);
    key_table(const key_table&) = delete;
    key_table& operator=(const key_table&) = delete;

    /// Reserves an index for a dead key. False when the table is full.
    [[nodiscard]] bool reserve(std::uint32_t& index);
    /// The index must be dead.
    void release(std::uint32_t index);

    /// A key for a reserved index, other than the last one.
    std::uint32_t fresh_key(std::uint32_t index) noexcept;
    /// Brings the dead index of `key` to life under that key.
    void enliven(std::uint32_t key, const key_grant& grant) noexcept;
    bool alive(std::uint32_t index) const noexcept;

    static bool covers(const key_grant& grant, const key_request& request) noexcept;
    /// Enters on success: the caller must leave(). Null when any check fails.
    key_entry* enter(const key_request& request) noexcept;
    static void leave(key_entry& entry) noexcept { entry.state_.fetch_sub(1, std::memory_order_release); }

    /// Ends the region's key and waits for accesses in progress; errc::region_in_use while windows are bound.
    error_code end_region(std::uint32_t key) noexcept;
    /// The same for a window, if `queue_pair` owns it and its key is `key`.
    bool end_window(std::uint32_t key, std::uint32_t queue_pair) noexcept;
    /// The same for a window, whoever owns it; false when it was not alive.
    bool end_any_window(std::uint32_t key) noexcept;

    /// Counts a window on a region. False when the region's key is dead or the grant does not allow it.
    bool bind(std::uint32_t region_key, const key_request& wanted) noexcept;

private:
    static constexpr std::uint32_t chunk_entries = 1'024;
    using chunk = std::array<key_entry, chunk_entries>;

    key_entry* find(std::uint32_t index) const noexcept;
    key_entry* enter_alive(std::uint32_t key) noexcept;
    void unbind(std::uint32_t region_key) noexcept;
    static void wait_until_left(key_entry& entry) noexcept;

    random_source& random_;
    std::array<std::atomic<chunk*>, entries_max / chunk_entries> chunks_{};
    std::mutex mutex_; // guards what follows
    std::vector<std::unique_ptr<chunk>> owned_;
    std::vector<std::uint32_t> free_;
};

/// The keys entered for one system call or copy; left when it goes.
class held_keys {
public:
    static constexpr std::size_t capacity = 96;

    held_keys() = default;
    held_keys(const held_keys&) = delete;
    held_keys& operator=(const held_keys&) = delete;
    ~held_keys() { leave_to(0); }

    /// Enters, unless the key entered last covers the request already.
    [[nodiscard]] bool enter(key_table& table, const key_request& request) noexcept
    {
        if (count_ != 0 && last_key_ == request.key && key_table::covers(entries_[count_ - 1]->grant(), request))
            return true;
        if (count_ == capacity)
            return false;
        auto* entry = table.enter(request);
        if (!entry)
            return false;
        entries_[count_++] = entry;
        last_key_ = request.key;
        return true;
    }
    std::size_t count() const noexcept { return count_; }
    void leave_to(std::size_t count) noexcept
    {
        while (count_ > count)
            key_table::leave(*entries_[--count_]);
        last_key_ = no_key;
    }

private:
    static constexpr std::uint64_t no_key = ~0ULL;
    std::array<key_entry*, capacity> entries_;
    std::size_t count_ = 0;
    std::uint64_t last_key_ = no_key;
};

} // namespace penstock::fabric::tcp
