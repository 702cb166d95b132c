#pragma once

// The sending half of a queue pair as a state machine without I/O: which frame goes next, what an acknowledgement or a
// refusal means, what completes.
//
// A turn of output plans frames on a copy of the position, writes them, and then reports what was started and written;
// so a partial write costs nothing to take back.

#include "fabric/tcp/frame.hpp"
#include "fabric/tcp/key_table.hpp"

#include <penstock/fabric/types.hpp>

#include <vector>

struct iovec;

namespace penstock::fabric::tcp {

/// Who a queue pair is to the key table.
struct key_context {
    key_table* keys = nullptr;
    std::uint32_t domain = 0;
    std::uint32_t queue_pair = 0;
};

/// A run of bytes in several pieces, for one system call.
struct piece_list {
    iovec* pieces = nullptr;
    std::size_t count = 0;
    std::size_t capacity = 0;

    bool add(std::byte* address, std::size_t length) noexcept;
};

/// Adds `length` bytes at `offset` of a segment list, entering their keys. False: a key is bad, or no room.
bool add_segments(const key_context& context, std::span<const local_segment> segments, std::uint64_t offset,
    std::uint64_t length, access rights, held_keys& held, piece_list& out) noexcept;

struct send_entry {
    std::uint64_t id = 0;
    opcode operation = opcode::send;
    bool signaled = true;
    bool solicited = false;
    bool fence = false;
    bool inline_data = false;
    bool sent = false; ///< the last frame is written
    bool done = false; ///< executed here, or its response is complete
    completion_status failure = completion_status::success;
    std::uint32_t message = 0;
    std::uint32_t segment_count = 0;
    std::uint64_t bytes = 0;
    std::uint64_t landed = 0; ///< bytes of its response
    remote_segment remote{};
    std::uint32_t immediate_data = 0;
    std::uint32_t invalidate_key = 0;
    std::uint64_t compare_add = 0;
    std::uint64_t swap = 0;
    // bind_window; the objects are only needed while the request is posted
    std::uint32_t bind_key = 0;
    std::uint32_t bind_region_key = 0;
    std::uint64_t bind_address = 0;
    std::uint64_t bind_length = 0;
    access bind_rights = access::none;
};

/// Where the next frame comes from.
struct send_position {
    std::uint64_t next = 0;   ///< entry, counted since the start
    std::uint64_t offset = 0; ///< bytes of it already put into frames
    std::uint32_t message = 0;
    std::uint32_t reads = 0; ///< reads and atomics outstanding
};

struct send_limits {
    std::uint32_t depth = 0;
    std::uint32_t segments_max = 0;
    std::uint32_t inline_bytes_max = 0;
    std::uint32_t fragment_bytes_max = 0;
};

class requester {
public:
    enum class response : std::uint8_t { fine, violation };
    enum class refused : std::uint8_t { wait, failed, violation };

    requester(const key_context& context, const send_limits& limits);

    /// The error that post_send gives for it, if any (wrong_state apart).
    error_code check(const send_request& request) const noexcept;
    /// After check(). The slot is taken until release().
    void append(const send_request& request) noexcept;
    bool full() const noexcept { return used_ == limits_.depth; }
    /// Gives back slots whose completions have been taken.
    void release(std::uint32_t slots) noexcept { used_ -= slots; }

    // Output.

    const send_position& position() const noexcept { return position_; }
    /// The next frame at `at`, which it moves on. False: nothing may be sent now. Binds and invalidations are executed.
    bool plan(send_position& at, frame_header& out, std::uint64_t& entry) noexcept;
    /// The payload of a planned frame from `skip` on. False: a key is bad, and the entry fails when its turn comes.
    bool gather(
        const frame_header& frame, std::uint64_t entry, std::uint32_t skip, held_keys& held, piece_list& out) noexcept;
    void start(const send_position& after) noexcept { position_ = after; }
    /// `generation` as it was when the frame was planned: a frame from before a rewind says nothing.
    void written(const frame_header& frame, std::uint64_t entry, std::uint32_t generation) noexcept;
    std::uint32_t generation() const noexcept { return generation_; }
    bool has_work() const noexcept { return position_.next != tail_; }
    void set_reads_max(std::uint32_t reads) noexcept { reads_max_ = reads; }
    void set_rnr_retry_count(std::uint8_t count) noexcept { rnr_retry_count_ = count; }
    void end_rnr_wait() noexcept { rnr_waiting_ = false; }
    bool rnr_waiting() const noexcept { return rnr_waiting_; }

    // Input.

    response acknowledge(std::uint32_t value) noexcept;
    refused refuse(std::uint32_t message, refusal why) noexcept;
    /// A response's header; sets where its payload lands.
    response begin_response(const frame_header& frame) noexcept;
    bool map_response(std::uint32_t length, held_keys& held, piece_list& out) noexcept;
    void response_landed(std::uint32_t length) noexcept { entry_at(reading_).landed += length; }
    void fail_response(completion_status status) noexcept { entry_at(reading_).failure = status; }
    /// The payload of a response frame is complete (there may be more frames).
    void end_response_frame(bool last) noexcept;
    /// An atomic's old value. False: the local segment's key is bad.
    bool land_atomic(std::uint64_t old_value) noexcept;

    // Completion.

    /// The oldest entry that has ended, in order; null when there is none. The entry is valid until the next append.
    const send_entry* retire() noexcept;
    /// It ends with `status` when its turn comes; nothing behind it starts.
    void fail(std::uint64_t entry, completion_status status) noexcept { entry_at(entry).failure = status; }
    /// The oldest entry that has not ended, whatever its state, marked with `status`.
    const send_entry* flush(completion_status status) noexcept;
    bool idle() const noexcept { return head_ == tail_; }

private:
    send_entry& entry_at(std::uint64_t index) noexcept { return entries_[index & mask_]; }
    const send_entry& entry_at(std::uint64_t index) const noexcept { return entries_[index & mask_]; }
    std::span<const local_segment> segments_of(std::uint64_t index) const noexcept;
    bool may_start(send_position& at, send_entry& entry) noexcept;
    void execute(send_entry& entry) noexcept;
    bool segments_valid(std::uint64_t index) noexcept;
    void rewind(std::uint32_t message) noexcept;
    void fill(const send_entry& entry, const send_position& at, frame_header& out) const noexcept;

    key_context context_;
    send_limits limits_;
    std::uint32_t reads_max_ = 0;
    std::vector<send_entry> entries_;
    std::vector<local_segment> segments_; // segments_max per entry
    std::vector<std::byte> inline_bytes_; // inline_bytes_max per entry
    std::uint64_t mask_;
    std::uint32_t used_ = 0;
    std::uint64_t head_ = 0; // oldest not ended
    std::uint64_t tail_ = 0; // next to be appended
    send_position position_;
    std::uint64_t reading_ = 0;      // entry whose response is next
    std::uint32_t acknowledged_ = 0; // messages before this one are done at the peer
    std::uint32_t written_ = 0;      // messages before this one are written whole
    std::uint32_t generation_ = 0;
    std::uint8_t rnr_retry_count_ = 7;
    std::uint8_t rnr_tries_ = 0;
    bool rnr_waiting_ = false;
};

constexpr bool is_response_operation(opcode operation) noexcept
{
    return operation == opcode::read || operation == opcode::compare_swap || operation == opcode::fetch_add;
}

constexpr bool is_atomic(opcode operation) noexcept
{
    return operation == opcode::compare_swap || operation == opcode::fetch_add;
}

constexpr bool is_local(opcode operation) noexcept
{
    return operation == opcode::bind_window || operation == opcode::local_invalidate;
}

completion_opcode completion_of(opcode operation) noexcept;

} // namespace penstock::fabric::tcp
