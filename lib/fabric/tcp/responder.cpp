#include "fabric/tcp/responder.hpp"

#include <atomic>

namespace penstock::fabric::tcp {

void responder::set_resources(std::uint32_t responses_max)
{
    responses_.resize(responses_max);
}

responder::verdict responder::refuse(refusal why) noexcept
{
    refusal_ = why;
    return verdict::refuse;
}

responder::verdict responder::not_ready() noexcept
{
    discarding_ = true;
    landed_ = 0;
    return verdict::not_ready;
}

void responder::next_message() noexcept
{
    ++expected_;
    landed_ = 0;
}

key_request responder::remote_request(
    const frame_header& frame, std::uint64_t offset, std::uint64_t length, access rights) const noexcept
{
    return {frame.key, frame.address + offset, length, rights, context_.domain, context_.queue_pair, true};
}

responder::verdict responder::begin(const frame_header& frame) noexcept
{
    const bool fragmented = frame.type != frame_type::read_request && frame.type != frame_type::atomic_request;
    const auto offset = fragmented ? frame.b : 0;
    if (discarding_) {
        if (before(frame.message, expected_))
            return verdict::violation;
        if (frame.message != expected_ || offset != 0)
            return verdict::drop;
        discarding_ = false;
    }
    if (frame.message != expected_ || offset != landed_)
        return verdict::violation;
    if (offset != 0) {
        auto first = message_;
        first.b = frame.b;
        first.length = frame.length;
        first.acknowledge = frame.acknowledge;
        return first == frame ? verdict::accept : verdict::violation;
    }
    message_ = frame;
    switch (frame.type) {
    case frame_type::send: return begin_send(frame);
    case frame_type::write:
    case frame_type::write_with_immediate: return begin_write(frame);
    case frame_type::read_request: return begin_read(frame);
    case frame_type::atomic_request: return begin_atomic(frame);
    default: return verdict::violation;
    }
}

responder::verdict responder::begin_send(const frame_header& frame) noexcept
{
    claimed_ = receives_->claim();
    if (claimed_ == receive_pool::none)
        return not_ready();
    if (frame.a > receives_->bytes(claimed_)) {
        claimed_status_ = completion_status::local_length_error;
        return refuse(refusal::invalid_request);
    }
    return verdict::accept;
}

responder::verdict responder::begin_write(const frame_header& frame) noexcept
{
    if (frame.a == 0)
        return verdict::accept;
    held_keys held;
    // The whole range at once: nothing of a write that would leave its region lands.
    if (!held.enter(*context_.keys, remote_request(frame, 0, frame.a, access::remote_write)))
        return refuse(refusal::remote_access);
    return verdict::accept;
}

responder::verdict responder::begin_read(const frame_header& frame) noexcept
{
    if (!has_room())
        return verdict::violation;
    held_keys held;
    if (frame.a != 0 && !held.enter(*context_.keys, remote_request(frame, 0, frame.a, access::remote_read)))
        return refuse(refusal::remote_access);
    respond({frame_type::read_response, frame.message, frame.key, frame.address, frame.a});
    return verdict::accept;
}

responder::verdict responder::begin_atomic(const frame_header& frame) noexcept
{
    if (!has_room())
        return verdict::violation;
    if (frame.address % sizeof(std::uint64_t) != 0)
        return refuse(refusal::invalid_request);
    held_keys held;
    if (!held.enter(*context_.keys, remote_request(frame, 0, sizeof(std::uint64_t), access::remote_atomic)))
        return refuse(refusal::remote_access);
    const std::atomic_ref<std::uint64_t> word(*reinterpret_cast<std::uint64_t*>(frame.address));
    std::uint64_t old = frame.a;
    if ((frame.flags & frame_flag::compare_swap) != 0)
        word.compare_exchange_strong(old, frame.b);
    else
        old = word.fetch_add(frame.a);
    respond({frame_type::atomic_response, frame.message, 0, 0, old});
    return verdict::accept;
}

bool responder::map(std::uint32_t length, held_keys& held, piece_list& out) noexcept
{
    if (message_.type == frame_type::send) {
        if (add_segments(context_, receives_->segments(claimed_), landed_, length, access::local_write, held, out))
            return true;
        claimed_status_ = completion_status::local_protection_error;
        refusal_ = refusal::operation;
        return false;
    }
    if (held.enter(*context_.keys, remote_request(message_, landed_, length, access::remote_write)))
        return out.add(reinterpret_cast<std::byte*>(message_.address + landed_), length);
    refusal_ = refusal::remote_access;
    return false;
}

responder::verdict responder::end_frame(finished_receive& out) noexcept
{
    switch (message_.type) {
    case frame_type::send: return landed_ == message_.a ? end_send(out) : verdict::accept;
    case frame_type::write:
    case frame_type::write_with_immediate: return landed_ == message_.a ? end_write(out) : verdict::accept;
    default: next_message(); return verdict::accept;
    }
}

void responder::complete(finished_receive& out, completion_opcode operation) const noexcept
{
    out.solicited = (message_.flags & frame_flag::solicited) != 0;
    out.completion.id = receives_->id(out.slot);
    out.completion.operation = operation;
    out.completion.byte_count = static_cast<std::uint32_t>(message_.a);
    out.completion.queue_pair_number = context_.queue_pair;
}

responder::verdict responder::end_send(finished_receive& out) noexcept
{
    const bool invalidates = (message_.flags & frame_flag::invalidate) != 0;
    if (invalidates && !context_.keys->end_window(message_.value, context_.queue_pair))
        return refuse(refusal::remote_access);
    out.slot = std::exchange(claimed_, receive_pool::none);
    complete(out, completion_opcode::receive);
    out.completion.has_invalidated_key = invalidates;
    out.completion.has_immediate = (message_.flags & frame_flag::immediate) != 0;
    (invalidates ? out.completion.invalidated_key : out.completion.immediate_data) = message_.value;
    next_message();
    return verdict::accept;
}

responder::verdict responder::end_write(finished_receive& out) noexcept
{
    if (message_.type == frame_type::write_with_immediate) {
        out.slot = receives_->claim();
        if (out.slot == receive_pool::none)
            return not_ready();
        complete(out, completion_opcode::receive_write_immediate);
        out.completion.has_immediate = true;
        out.completion.immediate_data = message_.value;
    }
    next_message();
    return verdict::accept;
}

bool responder::take_claimed(finished_receive& out) noexcept
{
    if (claimed_ == receive_pool::none)
        return false;
    out.slot = std::exchange(claimed_, receive_pool::none);
    out.completion.id = receives_->id(out.slot);
    out.completion.status = claimed_status_;
    out.completion.queue_pair_number = context_.queue_pair;
    return true;
}

bool responder::plan(
    response_position& at, std::uint32_t fragment_bytes_max, frame_header& out, std::uint64_t& index) noexcept
{
    if (at.next == tail_)
        return false;
    const auto& from = responses_[at.next % responses_.size()];
    index = at.next;
    out = {};
    out.type = from.type;
    out.message = from.message;
    out.a = from.value;
    if (from.type == frame_type::read_response) {
        out.length = static_cast<std::uint32_t>(std::min<std::uint64_t>(from.value - at.offset, fragment_bytes_max));
        out.b = at.offset;
        at.offset += out.length;
        if (!ends_response(out))
            return true;
    }
    ++at.next;
    at.offset = 0;
    return true;
}

bool responder::gather(
    const frame_header& frame, std::uint64_t index, std::uint32_t skip, held_keys& held, piece_list& out) noexcept
{
    if (skip == frame.length)
        return true;
    const auto& from = responses_[index % responses_.size()];
    const auto address = from.address + frame.b + skip;
    const auto length = frame.length - skip;
    const key_request request{
        from.key, address, length, access::remote_read, context_.domain, context_.queue_pair, true};
    return held.enter(*context_.keys, request) && out.add(reinterpret_cast<std::byte*>(address), length);
}

void responder::written(const frame_header& frame) noexcept
{
    if (frame.type == frame_type::atomic_response || ends_response(frame))
        ++head_;
}

} // namespace penstock::fabric::tcp
