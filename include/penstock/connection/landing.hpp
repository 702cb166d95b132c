#pragma once

// Where the old values of atomics land: eight-byte words of registered memory, shared by the lanes of a runtime.

#include <penstock/core/error.hpp>
#include <penstock/fabric/types.hpp>
#include <penstock/memory/memory_pool.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

namespace penstock::connection {

/// Ownership: the runtime's. Words in use belong to the device until their operation has ended.
/// Threads: the runtime's executor. Allocation: one buffer, at the first use.
class landing_words {
public:
    static constexpr std::uint16_t words_max = 512; ///< atomics in flight of one runtime at most

    explicit landing_words(memory::memory_pool& from) noexcept
        : pool_(from)
    {}

    /// Errors: send_queue_full when all are in use; at the first use what the pool says.
    result<std::uint16_t> acquire();
    void release(std::uint16_t word) noexcept;

    std::uint64_t value(std::uint16_t word) const noexcept;
    fabric::local_segment segment(std::uint16_t word, std::size_t device_index) const noexcept;

    std::uint16_t in_use() const noexcept { return in_use_; }

private:
    static constexpr std::size_t word_bytes = sizeof(std::uint64_t);

    memory::memory_pool& pool_;
    memory::buffer memory_;
    std::uint16_t in_use_ = 0;
    std::array<std::uint16_t, words_max> free_{}; // the first words_max - in_use_ are free
};

} // namespace penstock::connection
