#include "fabric/tcp/requester.hpp"

#include "fabric/tcp/memory.hpp"

#include <bit>
#include <cstring>
#include <sys/uio.h>

namespace penstock::fabric::tcp {

bool piece_list::add(std::byte* address, std::size_t length) noexcept
{
    if (count == capacity)
        return false;
    pieces[count++] = {address, length};
    return true;
}

bool add_segments(const key_context& context, std::span<const local_segment> segments, std::uint64_t offset,
    std::uint64_t length, access rights, held_keys& held, piece_list& out) noexcept
{
    for (const auto& segment : segments) {
        if (length == 0)
            return true;
        if (offset >= segment.length) {
            offset -= segment.length;
            continue;
        }
        const auto run = std::min<std::uint64_t>(length, segment.length - offset);
        auto* at = segment.address + offset;
        const key_request request{
            segment.lkey, reinterpret_cast<std::uintptr_t>(at), run, rights, context.domain, context.queue_pair, false};
        if (!held.enter(*context.keys, request) || !out.add(at, run))
            return false;
        length -= run;
        offset = 0;
    }
    return length == 0;
}

requester::requester(const key_context& context, const send_limits& limits)
    : context_(context)
    , limits_(limits)
    , entries_(std::bit_ceil(std::size_t{limits.depth}))
    , segments_(entries_.size() * limits.segments_max)
    , inline_bytes_(entries_.size() * limits.inline_bytes_max)
    , mask_(entries_.size() - 1)
{}

std::span<const local_segment> requester::segments_of(std::uint64_t index) const noexcept
{
    const auto slot = index & mask_;
    return {segments_.data() + slot * limits_.segments_max, entries_[slot].segment_count};
}

error_code requester::check(const send_request& request) const noexcept
{
    if (full())
        return errc::send_queue_full;
    if (request.local.size() > limits_.segments_max)
        return errc::too_many_segments;
    std::uint64_t bytes = 0;
    for (const auto& segment : request.local)
        bytes += segment.length;
    if (bytes > message_bytes_max)
        return errc::message_too_long;
    if (request.operation > opcode::local_invalidate)
        return errc::invalid_argument;
    if (request.inline_data) {
        if (is_response_operation(request.operation))
            return errc::invalid_argument;
        if (bytes > limits_.inline_bytes_max)
            return errc::inline_too_long;
    }
    if (is_atomic(request.operation)
        && (bytes != sizeof(std::uint64_t) || request.remote.address % sizeof(std::uint64_t) != 0))
        return errc::invalid_argument;
    if (request.operation == opcode::bind_window && (!request.bind.window || !request.bind.region))
        return errc::invalid_argument;
    return {};
}

void requester::append(const send_request& request) noexcept
{
    const auto slot = tail_ & mask_;
    auto& entry = entries_[slot];
    entry = {};
    entry.id = request.id;
    entry.operation = request.operation;
    entry.signaled = request.signaled;
    entry.solicited = request.solicited;
    entry.fence = request.fence;
    entry.inline_data = request.inline_data;
    entry.remote = request.remote;
    entry.immediate_data = request.immediate_data;
    entry.invalidate_key = request.invalidate_key;
    entry.compare_add = request.compare_add;
    entry.swap = request.swap;
    entry.segment_count = static_cast<std::uint32_t>(request.local.size());
    auto* segments = segments_.data() + slot * limits_.segments_max;
    auto* bytes = inline_bytes_.data() + slot * limits_.inline_bytes_max;
    for (const auto& segment : request.local) {
        *segments++ = segment;
        if (request.inline_data && segment.length != 0)
            std::memcpy(bytes + entry.bytes, segment.address, segment.length);
        entry.bytes += segment.length;
    }
    if (request.operation == opcode::bind_window) {
        auto& bound = static_cast<window&>(*request.bind.window);
        entry.bind_key = bound.advance();
        entry.bind_region_key = request.bind.region->lkey();
        entry.bind_address = reinterpret_cast<std::uintptr_t>(request.bind.address);
        entry.bind_length = bound.domain() == context_.domain ? request.bind.length : 0; // 0 fails the bind
        entry.bind_rights = request.bind.rights;
    }
    ++tail_;
    ++used_;
}

void requester::execute(send_entry& entry) noexcept
{
    auto& keys = *context_.keys;
    if (entry.operation == opcode::local_invalidate) {
        if (!keys.end_window(entry.invalidate_key, context_.queue_pair))
            entry.failure = completion_status::local_queue_pair_operation_error;
    } else if (!bind_window(context_, entry)) {
        entry.failure = completion_status::memory_window_bind_error;
    }
    entry.done = entry.failure == completion_status::success;
}

bool requester::segments_valid(std::uint64_t index) noexcept
{
    for (const auto& segment : segments_of(index)) {
        if (segment.length == 0)
            continue;
        const key_request request{segment.lkey, reinterpret_cast<std::uintptr_t>(segment.address), segment.length,
            access::local_write, context_.domain, context_.queue_pair, false};
        auto* held = context_.keys->enter(request);
        if (!held)
            return false;
        key_table::leave(*held);
    }
    return true;
}

/// False: it must wait, or it has failed.
bool requester::may_start(send_position& at, send_entry& entry) noexcept
{
    if (entry.fence && at.reads != 0)
        return false;
    if (!is_response_operation(entry.operation))
        return true;
    if (reads_max_ == 0) {
        entry.failure = completion_status::local_queue_pair_operation_error;
        return false;
    }
    if (at.reads >= reads_max_)
        return false;
    if (!segments_valid(at.next)) {
        entry.failure = completion_status::local_protection_error;
        return false;
    }
    return true;
}

bool requester::plan(send_position& at, frame_header& out, std::uint64_t& entry_index) noexcept
{
    if (rnr_waiting_)
        return false;
    for (; at.next != tail_; ++at.next) {
        auto& entry = entry_at(at.next);
        if (entry.failure != completion_status::success)
            return false;
        if (is_local(entry.operation)) {
            if (entry.done)
                continue; // executed before a rewind
            if (entry.fence && at.reads != 0)
                return false;
            execute(entry);
            if (!entry.done)
                return false;
            continue;
        }
        if (at.offset == 0 && !may_start(at, entry))
            return false;
        entry_index = at.next;
        fill(entry, at, out);
        entry.message = at.message;
        at.offset += out.length;
        const bool last = is_response_operation(entry.operation) || at.offset == entry.bytes;
        if (last) {
            at.reads += is_response_operation(entry.operation) ? 1U : 0U;
            ++at.next;
            ++at.message;
            at.offset = 0;
        }
        return true;
    }
    return false;
}

void requester::fill(const send_entry& entry, const send_position& at, frame_header& out) const noexcept
{
    out = {};
    out.message = at.message;
    const bool payload = !is_response_operation(entry.operation);
    if (payload) {
        out.length
            = static_cast<std::uint32_t>(std::min<std::uint64_t>(entry.bytes - at.offset, limits_.fragment_bytes_max));
        out.b = at.offset;
    }
    out.a = entry.bytes;
    if (entry.operation > opcode::send_with_invalidate) {
        out.address = entry.remote.address;
        out.key = entry.remote.rkey;
    }
    switch (entry.operation) {
    case opcode::send_with_immediate:
        out.flags = frame_flag::immediate;
        out.value = entry.immediate_data;
        [[fallthrough]];
    case opcode::send:
    case opcode::send_with_invalidate:
        out.type = frame_type::send;
        if (entry.operation == opcode::send_with_invalidate) {
            out.flags = frame_flag::invalidate;
            out.value = entry.invalidate_key;
        }
        break;
    case opcode::write: out.type = frame_type::write; break;
    case opcode::write_with_immediate:
        out.type = frame_type::write_with_immediate;
        out.value = entry.immediate_data;
        break;
    case opcode::read: out.type = frame_type::read_request; break;
    case opcode::compare_swap: out.flags = frame_flag::compare_swap; [[fallthrough]];
    case opcode::fetch_add:
        out.type = frame_type::atomic_request;
        out.a = entry.compare_add;
        out.b = entry.swap;
        break;
    case opcode::bind_window:
    case opcode::local_invalidate: break; // executed here, never framed
    }
    if (entry.solicited && (out.type == frame_type::send || out.type == frame_type::write_with_immediate))
        out.flags |= frame_flag::solicited;
}

bool requester::gather(
    const frame_header& frame, std::uint64_t index, std::uint32_t skip, held_keys& held, piece_list& out) noexcept
{
    auto& entry = entry_at(index);
    if (skip == frame.length)
        return true;
    const auto offset = frame.b + skip;
    if (entry.inline_data) {
        auto* bytes = inline_bytes_.data() + (index & mask_) * limits_.inline_bytes_max;
        return out.add(bytes + offset, frame.length - skip);
    }
    return add_segments(context_, segments_of(index), offset, frame.length - skip, access::none, held, out);
}

void requester::written(const frame_header& frame, std::uint64_t index, std::uint32_t generation) noexcept
{
    auto& entry = entry_at(index);
    if (generation != generation_)
        return;
    if (is_response_operation(entry.operation) || frame.b + frame.length == entry.bytes) {
        entry.sent = true;
        written_ = frame.message + 1;
    }
}

requester::response requester::acknowledge(std::uint32_t value) noexcept
{
    if (value == acknowledged_)
        return response::fine;
    if (before(value, acknowledged_) || before(written_, value))
        return response::violation;
    acknowledged_ = value;
    rnr_tries_ = 0;
    return response::fine;
}

requester::refused requester::refuse(std::uint32_t message, refusal why) noexcept
{
    // The message may still be on its way out: refused at its first fragment. A read is acknowledged before it is
    // answered, and may still be refused.
    auto index = head_;
    const auto started = position_.next + (position_.offset != 0 ? 1U : 0U);
    while (index != started && (is_local(entry_at(index).operation) || entry_at(index).message != message))
        ++index;
    if (index == started)
        return refused::violation;
    auto& entry = entry_at(index);
    if (before(message, acknowledged_)) {
        if (!is_response_operation(entry.operation) || entry.done || why == refusal::receiver_not_ready)
            return refused::violation;
    } else if (message != acknowledged_) {
        if (before(written_, message))
            return refused::violation;
        acknowledged_ = message;
        rnr_tries_ = 0;
    }
    switch (why) {
    case refusal::receiver_not_ready:
        if (is_response_operation(entry.operation) || entry.operation == opcode::write || rnr_waiting_)
            return refused::violation;
        if (rnr_retry_count_ != 7 && rnr_tries_++ >= rnr_retry_count_) {
            entry.failure = completion_status::receiver_not_ready_retry_exceeded;
            return refused::failed;
        }
        rewind(message);
        rnr_waiting_ = true;
        return refused::wait;
    case refusal::remote_access: entry.failure = completion_status::remote_access_error; return refused::failed;
    case refusal::invalid_request: entry.failure = completion_status::remote_invalid_request; return refused::failed;
    case refusal::operation: entry.failure = completion_status::remote_operation_error; return refused::failed;
    case refusal::none: break;
    }
    return refused::violation;
}

void requester::rewind(std::uint32_t message) noexcept
{
    send_position back;
    back.message = message;
    back.next = head_;
    while (is_local(entry_at(back.next).operation) || before(entry_at(back.next).message, message)) {
        const auto& entry = entry_at(back.next);
        back.reads += is_response_operation(entry.operation) && !entry.done ? 1U : 0U;
        ++back.next;
    }
    for (auto index = back.next; index != tail_; ++index)
        entry_at(index).sent = false;
    position_ = back;
    written_ = message;
    ++generation_;
}

} // namespace penstock::fabric::tcp
