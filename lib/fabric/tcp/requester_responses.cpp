#include "fabric/tcp/requester.hpp"

#include <algorithm>
#include <cstring>
#include <sys/uio.h>

namespace penstock::fabric::tcp {

requester::response requester::begin_response(const frame_header& frame) noexcept
{
    reading_ = std::max(reading_, head_); // slots behind the head are others' by now
    while (
        reading_ < position_.next && (!is_response_operation(entry_at(reading_).operation) || entry_at(reading_).done))
        ++reading_;
    if (reading_ >= position_.next) // beyond it after a refusal that sends everything again: nothing is awaited yet
        return response::violation;
    const auto& entry = entry_at(reading_);
    if (!entry.sent || entry.message != frame.message)
        return response::violation;
    if (frame.type == frame_type::atomic_response)
        return is_atomic(entry.operation) ? response::fine : response::violation;
    if (entry.operation != opcode::read || frame.a != entry.bytes || frame.b != entry.landed)
        return response::violation;
    return response::fine;
}

bool requester::map_response(std::uint32_t length, held_keys& held, piece_list& out) noexcept
{
    return add_segments(
        context_, segments_of(reading_), entry_at(reading_).landed, length, access::local_write, held, out);
}

void requester::end_response_frame(bool last) noexcept
{
    if (!last)
        return;
    auto& entry = entry_at(reading_);
    entry.done = true;
    --position_.reads;
    ++reading_;
}

bool requester::land_atomic(std::uint64_t old_value) noexcept
{
    iovec pieces[8];
    piece_list out{pieces, 0, std::size(pieces)};
    held_keys held;
    if (!map_response(sizeof old_value, held, out))
        return false;
    const auto* from = reinterpret_cast<const std::byte*>(&old_value);
    for (std::size_t i = 0; i != out.count; ++i) {
        std::memcpy(pieces[i].iov_base, from, pieces[i].iov_len);
        from += pieces[i].iov_len;
    }
    response_landed(sizeof old_value);
    end_response_frame(true);
    return true;
}

const send_entry* requester::retire() noexcept
{
    if (head_ == tail_)
        return nullptr;
    auto& entry = entry_at(head_);
    const bool acknowledged = entry.sent && !is_local(entry.operation) && !is_response_operation(entry.operation)
        && before(entry.message, acknowledged_);
    if (entry.failure == completion_status::success && !entry.done && !acknowledged)
        return nullptr;
    ++head_;
    return &entry;
}

const send_entry* requester::flush(completion_status status) noexcept
{
    if (head_ == tail_)
        return nullptr;
    auto& entry = entry_at(head_++);
    entry.failure = status;
    return &entry;
}

completion_opcode completion_of(opcode operation) noexcept
{
    switch (operation) {
    case opcode::send:
    case opcode::send_with_immediate:
    case opcode::send_with_invalidate: return completion_opcode::send;
    case opcode::write:
    case opcode::write_with_immediate: return completion_opcode::write;
    case opcode::read: return completion_opcode::read;
    case opcode::compare_swap: return completion_opcode::compare_swap;
    case opcode::fetch_add: return completion_opcode::fetch_add;
    case opcode::bind_window: return completion_opcode::bind_window;
    case opcode::local_invalidate: return completion_opcode::local_invalidate;
    }
    return completion_opcode::send;
}

} // namespace penstock::fabric::tcp
