#pragma once

// The vocabulary of the seam: work requests, completions and access rights, as the RDMA standard names them.
// Plain values; nothing here allocates or talks to a device.

#include <penstock/core/error.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace penstock::fabric {

class memory_region;
class memory_window;

enum class transport : std::uint8_t { verbs, tcp, sim };

std::string_view to_string(transport kind) noexcept;

/// Rights on registered memory. A region for peers to reach through windows needs `window_bind` and whatever
/// local right the window's remote right implies (`local_write` for `remote_write` and `remote_atomic`).
enum class access : std::uint32_t {
    none = 0,
    local_write = 1U << 0U,
    remote_write = 1U << 1U,
    remote_read = 1U << 2U,
    remote_atomic = 1U << 3U,
    window_bind = 1U << 4U,
};

constexpr access operator|(access a, access b) noexcept
{
    return static_cast<access>(static_cast<std::uint32_t>(a) | static_cast<std::uint32_t>(b));
}

/// True when `set` holds every right of `wanted`.
constexpr bool has_access(access set, access wanted) noexcept
{
    return (static_cast<std::uint32_t>(set) & static_cast<std::uint32_t>(wanted)) == static_cast<std::uint32_t>(wanted);
}

/// A piece of local registered memory. A zero-length segment is legal and its key is not looked at.
struct local_segment {
    std::byte* address = nullptr;
    std::uint32_t length = 0; ///< bytes
    std::uint32_t lkey = 0;
};

/// A place in the peer's memory. The length is that of the request's local segments.
struct remote_segment {
    std::uint64_t address = 0;
    std::uint32_t rkey = 0;
};

enum class opcode : std::uint8_t {
    send,
    send_with_immediate,
    send_with_invalidate, ///< needs capability::send_with_invalidate
    write,
    write_with_immediate, ///< consumes a receive at the peer, even when it carries no bytes
    read,
    compare_swap, ///< 8 bytes at an 8-byte aligned remote address; the old value lands in the local segment
    fetch_add,    ///< likewise
    bind_window,
    local_invalidate,
};

/// What `opcode::bind_window` needs. The window's new key is `window->next_key()` as it was before the post;
/// after the post `window->key()` returns it. A window belongs to the queue pair that bound it.
struct window_binding {
    memory_window* window = nullptr;
    memory_region* region = nullptr; ///< registered with access::window_bind
    std::byte* address = nullptr;    ///< first byte; inside the region
    std::uint64_t length = 0;        ///< bytes, at least 1
    access rights = access::none;    ///< remote_read | remote_write | remote_atomic
};

/// One request for the send queue.
///
/// The request and its segment list are copied while `post_send` runs. The bytes the segments name belong to the
/// device from the post until a completion covers the request: its own if signaled, else that of a later
/// signaled request of the same queue pair. Inline bytes are copied during the post.
struct send_request {
    std::uint64_t id = 0; ///< comes back in the completion
    opcode operation = opcode::send;
    bool signaled = true;     ///< false: completes silently unless it fails
    bool solicited = false;   ///< wakes a peer that armed for solicited completions only
    bool fence = false;       ///< starts only after earlier reads and atomics of this queue pair are done
    bool inline_data = false; ///< bytes are taken during the post; keys are not looked at
    std::span<const local_segment> local{};
    remote_segment remote{};          ///< write, read, atomics
    std::uint32_t immediate_data = 0; ///< host byte order at both ends
    std::uint32_t invalidate_key = 0; ///< send_with_invalidate: the peer's; local_invalidate: our window's key
    std::uint64_t compare_add = 0;    ///< compare_swap: expected value; fetch_add: addend
    std::uint64_t swap = 0;           ///< compare_swap: new value
    window_binding bind{};
};

struct receive_request {
    std::uint64_t id = 0;
    std::span<const local_segment> local{}; ///< empty is legal: a receive for messages without bytes
};

enum class completion_opcode : std::uint8_t {
    send, ///< all three kinds of send
    write,
    read,
    compare_swap,
    fetch_add,
    bind_window,
    local_invalidate,
    receive,                ///< a peer's send
    receive_write_immediate ///< a peer's write with immediate
};

/// The end of a work request. When `status` is not success only id, status, vendor_error and
/// queue_pair_number are valid.
struct work_completion {
    std::uint64_t id = 0;
    completion_status status = completion_status::success;
    completion_opcode operation = completion_opcode::send;
    bool has_immediate = false;
    bool has_invalidated_key = false;
    std::uint32_t byte_count = 0; ///< receives: bytes of the message; reads and atomics: bytes read
    std::uint32_t immediate_data = 0;
    std::uint32_t invalidated_key = 0; ///< the local window the peer's send invalidated
    std::uint32_t queue_pair_number = 0;
    std::uint32_t vendor_error = 0;
};

/// How much of a list was posted. On an error `posted` requests are on the queue and the rest is not: a partly
/// posted chain cannot be taken back, so the owner moves the queue pair to ERROR unless it can post the rest.
struct [[nodiscard]] post_result {
    std::size_t posted = 0;
    error_code error{};
};

} // namespace penstock::fabric
