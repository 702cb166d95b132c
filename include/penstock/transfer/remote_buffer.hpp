#pragma once

// Memory that a peer exposed to us: a value that travels in messages, and the peer's only name for it.

#include <penstock/core/error.hpp>
#include <penstock/fabric/types.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace penstock::transfer {

/// The key that opens the memory on one lane. It dies with that lane, even when a new lane takes its place.
struct lane_key {
    std::uint16_t lane = 0;
    std::uint32_t rkey = 0;

    friend bool operator==(const lane_key&, const lane_key&) = default;
};

/// A range of the peer's memory with the keys to it. It dies when the peer revokes it, and with the connection's epoch.
///
/// *Threads.* A value: any, each with its own. *Allocation.* None.
class remote_buffer {
public:
    static constexpr std::size_t lanes_max = 8;
    static constexpr std::size_t header_bytes = 32;
    static constexpr std::size_t key_bytes = 8;
    static constexpr std::size_t encoded_bytes_max = header_bytes + lanes_max * key_bytes;

    /// Names nothing: length 0, no keys.
    remote_buffer() = default;

    /// What is exposed by the side that calls this. `keys` in ascending order of their lanes.
    /// Errors: invalid_argument (id or length 0, a range that wraps around, no rights or other than remote rights; no keys,
    /// more than lanes_max, out of order).
    static result<remote_buffer> make(std::uint64_t id, std::uint64_t address, std::uint64_t length,
        std::uint32_t epoch, fabric::access rights, std::span<const lane_key> keys) noexcept;

    std::uint64_t id() const noexcept { return id_; }
    std::uint64_t address() const noexcept { return address_; } ///< in the peer's address space
    std::uint64_t length() const noexcept { return length_; }   ///< bytes
    std::uint32_t epoch() const noexcept { return epoch_; }
    fabric::access rights() const noexcept { return rights_; }
    bool empty() const noexcept { return length_ == 0; }
    std::span<const lane_key> keys() const noexcept { return std::span(keys_).first(key_count_); }

    /// The key for a lane; none when it was down, or did not exist, at the time of exposing.
    std::optional<std::uint32_t> key_for(std::size_t lane) const noexcept
    {
        for (const auto& key : keys()) {
            if (key.lane == lane) {
                return key.rkey;
            }
        }
        return std::nullopt;
    }

    /// `length` bytes from `offset`, under the same id and keys. Both must lie inside: checked, throws std::out_of_range.
    remote_buffer slice(std::uint64_t offset, std::uint64_t length) const;

    /// Writes the wire form (docs/release-contract.md) and returns its length; 0 when `into` is too short, or this is empty.
    std::size_t encode(std::span<std::byte> into) const noexcept;

    /// Reads the wire form. `from` must be exactly that.
    /// Errors: malformed_message (any field out of its range, or another length), unsupported_version.
    static result<remote_buffer> decode(std::span<const std::byte> from) noexcept;

    friend bool operator==(const remote_buffer&, const remote_buffer&) = default;

private:
    std::uint64_t id_ = 0;
    std::uint64_t address_ = 0;
    std::uint64_t length_ = 0;
    std::uint32_t epoch_ = 0;
    fabric::access rights_ = fabric::access::none;
    std::size_t key_count_ = 0;
    std::array<lane_key, lanes_max> keys_{};
};

} // namespace penstock::transfer
