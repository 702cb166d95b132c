#pragma once

// Blocks of files in registered memory, so that what is read again is served without a copy and without
// another checksum pass.

#include "storage/file_store_system.hpp"

#include <penstock/memory/memory_pool.hpp>

#include <boost/functional/hash.hpp>

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <unordered_map>

namespace penstock::storage {

/// One block of one state of a file: a changed file has another identity, so a block never goes stale, only unused.
struct block_key {
    file_identity file;
    std::uint64_t index = 0;

    friend bool operator==(const block_key&, const block_key&) = default;
};

struct cached_block {
    memory::buffer buffer;
    std::size_t bytes = 0;                         ///< valid from the start
    mutable std::optional<std::uint32_t> crc32c{}; ///< of those, once somebody asked for it
};

/// Least recently used blocks go first; one that is being sent stays alive by its shared_ptr.
/// Threads: one.
class block_cache {
public:
    block_cache(std::size_t bytes_max, std::size_t block_bytes) noexcept
        : blocks_max_(block_bytes == 0 ? 0 : bytes_max / block_bytes)
    {}

    bool enabled() const noexcept { return blocks_max_ != 0; }

    /// Null when it is not here.
    std::shared_ptr<const cached_block> find(const block_key& key)
    {
        const auto found = index_.find(key);
        if (found == index_.end()) {
            return nullptr;
        }
        used_.splice(used_.begin(), used_, found->second);
        return used_.front().block;
    }

    void insert(const block_key& key, std::shared_ptr<const cached_block> block)
    {
        if (!enabled() || index_.contains(key)) {
            return;
        }
        if (used_.size() == blocks_max_) {
            evict();
        }
        used_.push_front({key, std::move(block)});
        index_[key] = used_.begin();
    }

    /// Drops the least recently used block; false when there is none.
    bool evict()
    {
        if (used_.empty()) {
            return false;
        }
        index_.erase(used_.back().key);
        used_.pop_back();
        return true;
    }

private:
    struct entry {
        block_key key;
        std::shared_ptr<const cached_block> block;
    };
    struct hash {
        std::size_t operator()(const block_key& key) const noexcept
        {
            std::size_t seed = std::hash<std::uint64_t>{}(key.index);
            boost::hash_combine(seed, key.file.inode);
            boost::hash_combine(seed, key.file.modified_ns);
            return seed;
        }
    };

    std::size_t blocks_max_;
    std::list<entry> used_;
    std::unordered_map<block_key, std::list<entry>::iterator, hash> index_;
};

} // namespace penstock::storage
