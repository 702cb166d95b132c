#pragma once

// Credits of a data lane: how many messages may be sent before the peer has said that it has room again. No I/O here; the
// lane performs what this decides, and docs/connection.md is the specification.
//
// Each side posts `granted` receives for messages and `credit_receives` more. A message spends a credit of its sender; the
// receiver gives it back when the receive is posted again: on its own next message, or, once half is owed, on a message that
// carries nothing else. So there is always a receive for whatever arrives.

#include <cstddef>
#include <cstdint>
#include <span>

namespace penstock::connection {

inline constexpr std::size_t message_header_bytes = 8;

/// Messages that carry credits only and have not been read: each but the last gave back half, of which there are two.
inline constexpr std::uint32_t credit_receives = 2;

/// Threads: one. Allocation: none.
class message_credits {
public:
    static constexpr std::uint32_t granted_max = 0xffff; ///< what the header has room for

    using header = std::span<std::byte, message_header_bytes>;

    enum class arrival : std::uint8_t {
        message,   ///< its bytes follow the header
        credit,    ///< nothing but credits: post the receive again
        malformed, ///< the peer broke the protocol
        excess,    ///< likewise: it sent more than it was granted, or gave back more than it got
    };

    /// Both sides grant the same: 1 to granted_max.
    explicit message_credits(std::uint32_t granted) noexcept
        : granted_(granted)
        , available_(granted)
    {}

    /// Messages that may be sent now.
    std::uint32_t available() const noexcept { return available_; }

    /// A message goes out: writes its header, with what we owe. Precondition: available().
    void send_message(header into) noexcept;
    /// What takes a receive of the peer's but has no header, a write with immediate data, goes out. Precondition: available().
    void send_immediate() noexcept { --available_; }
    /// A message that carries nothing but what we owe goes out.
    void send_credit(header into) noexcept;
    /// Whether one is due: half is owed; or the peer has none left, most being kept here, and waits for the few we owe.
    bool credit_due() const noexcept
    {
        return owed_ != 0 && (owed_ >= granted_ - granted_ / 2 || unreturned_ == granted_);
    }

    /// A receive completed with these bytes, header and all. After malformed or excess nothing has changed.
    arrival message_arrived(std::span<const std::byte> whole) noexcept;
    arrival immediate_arrived() noexcept;
    /// A message's receive was posted again.
    void receive_posted() noexcept { ++owed_; }

private:
    std::uint16_t give_back() noexcept;

    std::uint32_t granted_;
    std::uint32_t available_;      ///< that we may spend
    std::uint32_t unreturned_ = 0; ///< messages of the peer's whose credits it has not got back
    std::uint32_t owed_ = 0;       ///< of these, those whose receives are posted again
};

} // namespace penstock::connection
