#pragma once

// A message that arrived, in the memory it was received into.

#include <penstock/memory/memory_pool.hpp>

#include <boost/intrusive/list_hook.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace penstock::connection {

class inbox;
class lane;
struct receive_memory;

/// One receive of a lane. Private to lanes, messages and inboxes.
struct receive_slot : boost::intrusive::list_base_hook<> {
    receive_memory* home = nullptr;
    std::span<std::byte> bytes{}; ///< with room for a header
    std::uint32_t lkey = 0;
    std::uint32_t index = 0;
    std::span<const std::byte> payload{}; ///< of the message that is here
};

/// What a lane receives into. It outlives the lane while messages are kept.
struct receive_memory {
    lane* owner = nullptr; ///< null once the lane is gone
    std::size_t kept = 0;
    std::vector<memory::buffer> memory;
    std::vector<receive_slot> slots;
};

/// A message that is kept. Its receive, and the credit that the peer spent on it, are given back when this is destroyed: who keeps
/// as many as were granted hears no more.
/// Ownership: child of the runtime; the lane may be gone before it. Threads: the runtime's executor. Allocation: none.
class received_message {
public:
    received_message() = default;
    received_message(received_message&& other) noexcept
        : slot_(std::exchange(other.slot_, nullptr))
    {}
    received_message& operator=(received_message&& other) noexcept
    {
        std::swap(slot_, other.slot_);
        return *this;
    }
    ~received_message()
    {
        if (slot_ != nullptr) {
            give_back(*slot_);
        }
    }

    explicit operator bool() const noexcept { return slot_ != nullptr; }
    std::span<const std::byte> bytes() const noexcept
    {
        return slot_ != nullptr ? slot_->payload : std::span<const std::byte>{};
    }

private:
    friend class lane;
    friend class inbox;
    explicit received_message(receive_slot& slot) noexcept
        : slot_(&slot)
    {}
    static void give_back(receive_slot& slot) noexcept;

    receive_slot* slot_ = nullptr;
};

} // namespace penstock::connection
