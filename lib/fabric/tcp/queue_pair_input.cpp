#include "fabric/tcp/completion_queue.hpp"
#include "fabric/tcp/device.hpp"
#include "fabric/tcp/queue_pair.hpp"

#include <cerrno>
#include <cstring>
#include <sys/socket.h>

namespace penstock::fabric::tcp {
namespace {

/// Reads in one turn of one queue pair at most, so that a busy one does not starve the others.
constexpr int reads_max = 4;
/// Payload asked for in one read at most.
constexpr std::uint32_t direct_bytes_max = 1U << 20U;
/// Read behind the end of a large payload: room for a few headers, not for payload that would have to be copied.
constexpr std::size_t trailing_bytes = 4'096;
/// What a peer may ask to wait at most; the rest of a larger number is ignored.
constexpr std::uint64_t rnr_delay_microseconds_max = 1'000'000;

} // namespace

void queue_pair::turn_input(input_scratch& scratch)
{
    if (!adopted_ || input_dead_)
        return;
    if (!errored_ && link_->reached() == link::phase::accepted) {
        const auto ready = link_->take_ready();
        if (ready == link::ready_result::dead)
            peer_closed();
        if (ready != link::ready_result::taken)
            return;
    }
    for (int i = 0; i != reads_max && (errored_ ? receive_drain(scratch) : receive_once(scratch)); ++i) {}
    link_->publish_acknowledge(responder_.expected());
    complete_sends();
    if (wants_turn())
        mark();
}

bool queue_pair::receive_drain(input_scratch& scratch)
{
    const auto got = ::recv(socket(), scratch.staging.data(), scratch.staging.size(), MSG_DONTWAIT);
    if (got > 0)
        return true;
    if (got == 0 || (errno != EAGAIN && errno != EINTR))
        peer_closed();
    return false;
}

/// One system call. True when there may be more to read.
bool queue_pair::receive_once(input_scratch& scratch)
{
    std::array<iovec, held_keys::capacity> pieces;
    piece_list out{pieces.data(), 0, pieces.size() - 1};
    held_keys held;
    std::uint32_t direct = 0;
    if (payload_left_ >= direct_bytes_min_ && landing_ != landing::discard) {
        direct = std::min(payload_left_, direct_bytes_max);
        if (!map_payload(direct, held, out))
            return false;
    }
    out.capacity = pieces.size();
    const bool little = large_last_ && payload_left_ < direct_bytes_min_;
    const auto staged = direct != 0 || little ? trailing_bytes : scratch.staging.size();
    out.add(scratch.staging.data(), staged);
    msghdr message{};
    message.msg_iov = out.pieces;
    message.msg_iovlen = out.count;
    const auto got = ::recvmsg(socket(), &message, MSG_DONTWAIT);
    held.leave_to(0);
    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR))
            peer_closed();
        quiet_reads_ += quiet_reads_ < quiet_reads_max ? 1U : 0U;
        return false;
    }
    quiet_reads_ = 0;
    auto bytes = static_cast<std::size_t>(got);
    const bool full = bytes == direct + staged;
    if (direct != 0) {
        const auto landed_now = static_cast<std::uint32_t>(std::min<std::size_t>(bytes, direct));
        landed(landed_now);
        bytes -= landed_now;
        if (payload_left_ == 0)
            end_payload();
    }
    parse(scratch.staging.data(), bytes);
    return full && !errored_;
}

bool queue_pair::map_payload(std::uint32_t length, held_keys& held, piece_list& out)
{
    if (landing_ == landing::request) {
        if (responder_.map(length, held, out))
            return true;
        held.leave_to(0);
        answer(responder::verdict::refuse);
        return false;
    }
    if (requester_.map_response(length, held, out))
        return true;
    held.leave_to(0);
    requester_.fail_response(completion_status::local_protection_error);
    complete_sends();
    landing_ = landing::discard; // until it is the oldest
    return false;
}

void queue_pair::landed(std::uint32_t length)
{
    payload_left_ -= length;
    if (landing_ == landing::request)
        responder_.landed(length);
    else if (landing_ == landing::response)
        requester_.response_landed(length);
}

void queue_pair::land_copy(const std::byte* from, std::uint32_t length)
{
    if (landing_ != landing::discard) {
        std::array<iovec, held_keys::capacity> pieces;
        piece_list out{pieces.data(), 0, pieces.size()};
        held_keys held;
        if (map_payload(length, held, out))
            for (std::size_t i = 0; i != out.count; ++i) {
                std::memcpy(pieces[i].iov_base, from, pieces[i].iov_len);
                from += pieces[i].iov_len;
            }
    }
    if (!errored_)
        landed(length);
}

void queue_pair::parse(std::byte* at, std::size_t length)
{
    while (!errored_ && length != 0) {
        if (payload_left_ != 0) {
            const auto run = static_cast<std::uint32_t>(std::min<std::size_t>(payload_left_, length));
            land_copy(at, run);
            at += run;
            length -= run;
            if (!errored_ && payload_left_ == 0)
                end_payload();
            continue;
        }
        const auto* bytes = at;
        auto run = header_bytes;
        if (header_have_ != 0 || length < header_bytes) {
            run = std::min(length, header_bytes - header_have_);
            std::memcpy(header_.data() + header_have_, at, run);
            header_have_ += run;
            if (header_have_ < header_bytes)
                return;
            header_have_ = 0;
            bytes = header_.data();
        }
        at += run;
        length -= run;
        frame_header frame;
        if (!decode(std::span<const std::byte, header_bytes>(bytes, header_bytes), frame)) {
            protocol_error("a frame that is none");
            return;
        }
        on_header(frame);
    }
}

void queue_pair::on_header(const frame_header& frame)
{
    if (requester_.acknowledge(frame.acknowledge) == requester::response::violation) {
        protocol_error("an acknowledgement of what was not sent");
        return;
    }
    payload_left_ = frame.length;
    landing_ = landing::discard;
    large_last_ = frame.length >= direct_bytes_min_;
    switch (frame.type) {
    case frame_type::send:
    case frame_type::write:
    case frame_type::write_with_immediate:
    case frame_type::read_request:
    case frame_type::atomic_request: on_request(frame); break;
    case frame_type::read_response:
    case frame_type::atomic_response: on_response(frame); break;
    case frame_type::negative_acknowledge: on_refusal(frame); break;
    case frame_type::disconnect: enter_error(completion_status::flushed, goodbye::silent); break;
    case frame_type::acknowledge: break;
    }
}

void queue_pair::on_request(const frame_header& frame)
{
    const auto verdict = responder_.begin(frame);
    if (verdict != responder::verdict::accept) {
        answer(verdict);
        return;
    }
    landing_ = landing::request;
    if (payload_left_ == 0)
        end_payload();
}

void queue_pair::on_response(const frame_header& frame)
{
    if (requester_.begin_response(frame) == requester::response::violation) {
        protocol_error("a response to nothing");
        return;
    }
    if (frame.type == frame_type::atomic_response) {
        if (!requester_.land_atomic(frame.a)) {
            requester_.fail_response(completion_status::local_protection_error);
            complete_sends();
        }
        return;
    }
    landing_ = landing::response;
    ends_response_ = ends_response(frame);
    if (payload_left_ == 0)
        end_payload();
}

void queue_pair::on_refusal(const frame_header& frame)
{
    switch (requester_.refuse(frame.message, static_cast<refusal>(frame.code))) {
    case requester::refused::wait:
        rnr_until_ = saturating_add(
            owner_.time().now(), std::chrono::microseconds(std::min(frame.a, rnr_delay_microseconds_max)));
        attend();
        break;
    case requester::refused::failed: complete_sends(); break;
    case requester::refused::violation: protocol_error("a refusal of what was not sent"); break;
    }
}

void queue_pair::end_payload()
{
    const auto kind = std::exchange(landing_, landing::discard);
    if (kind == landing::response) {
        requester_.end_response_frame(ends_response_);
        return;
    }
    if (kind == landing::discard)
        return;
    finished_receive finished;
    const auto verdict = responder_.end_frame(finished);
    if (verdict != responder::verdict::accept)
        answer(verdict);
    else if (finished.slot != receive_pool::none) {
        complete_sends(); // what the same frame acknowledges came first
        if (!errored_)
            push_receive(finished);
    }
}

void queue_pair::answer(responder::verdict verdict)
{
    landing_ = landing::discard;
    switch (verdict) {
    case responder::verdict::accept:
    case responder::verdict::drop: break;
    case responder::verdict::not_ready: rnr_pending_ = true; break;
    case responder::verdict::refuse:
        enter_error(
            completion_status::flushed, goodbye::refusal, responder_.refusal_kind(), responder_.expected(), true);
        break;
    case responder::verdict::violation: protocol_error("a message out of sequence"); break;
    }
}

} // namespace penstock::fabric::tcp
