#include "fabric/tcp/completion_queue.hpp"
#include "fabric/tcp/device.hpp"
#include "fabric/tcp/queue_pair.hpp"

#include <cerrno>
#include <sys/socket.h>

namespace penstock::fabric::tcp {

bool queue_pair::gather(const outgoing_frame& frame, std::uint32_t skip, held_keys& held, piece_list& out) noexcept
{
    switch (frame.from) {
    case frame_source::control: return true;
    case frame_source::request: return requester_.gather(frame.header, frame.index, skip, held, out);
    case frame_source::response: return responder_.gather(frame.header, frame.index, skip, held, out);
    case frame_source::stash: break;
    }
    return false;
}

/// Puts a frame into the batch. False: a key is bad; the batch ends before it.
bool queue_pair::add_frame(output_scratch& scratch, std::size_t& count, const outgoing_frame& frame,
    const send_position& request, const response_position& response, held_keys& held, piece_list& out)
{
    const auto pieces = out.count;
    const auto keys = held.count();
    auto& header = scratch.headers[count];
    auto& planned = scratch.frames[count];
    planned.frame = frame;
    planned.frame.header.acknowledge = responder_.expected();
    encode(planned.frame.header, header);
    out.add(header.data(), header.size());
    if (!gather(planned.frame, 0, held, out)) {
        out.count = pieces;
        held.leave_to(keys);
        scratch.failed = true;
        scratch.failure = frame;
        scratch.failure_begun = false;
        return false;
    }
    planned.request_after = request;
    planned.response_after = response;
    planned.bytes = header.size() + planned.frame.header.length;
    scratch.bytes += planned.bytes;
    ++count;
    return true;
}

bool queue_pair::add_control(output_scratch& scratch, std::size_t& count, held_keys& held, piece_list& out, bool alone,
    const send_position& request, const response_position& response)
{
    outgoing_frame frame;
    if (errored_) {
        if (!goodbye_pending_)
            return false;
        frame.header = goodbye_;
    } else if (rnr_pending_) {
        frame.header.type = frame_type::negative_acknowledge;
        frame.header.message = responder_.expected();
        frame.header.code = static_cast<std::uint16_t>(refusal::receiver_not_ready);
        frame.header.a = link_->terms().rnr_delay_microseconds;
    } else if (!alone || count != 0 || acknowledged_ == responder_.expected()) {
        return false;
    }
    return add_frame(scratch, count, frame, request, response, held, out);
}

std::size_t queue_pair::build(output_scratch& scratch, held_keys& held, piece_list& out, bool alone)
{
    std::size_t count = 0;
    auto request = requester_.position();
    auto response = responder_.position();
    scratch.bytes = 0;
    scratch.failed = false;
    if (current_active_) {
        auto& planned = scratch.frames[count++];
        planned.frame = current_;
        planned.request_after = request;
        planned.response_after = response;
        if (current_.from == frame_source::stash) {
            planned.bytes = stash_.size() - current_written_;
            out.add(stash_.data() + current_written_, planned.bytes);
        } else {
            auto& header = scratch.headers[0];
            encode(current_.header, header);
            planned.bytes = header_bytes + current_.header.length - current_written_;
            if (current_written_ < header_bytes)
                out.add(header.data() + current_written_, header_bytes - current_written_);
            const auto skip = current_written_ > header_bytes ? current_written_ - std::uint32_t{header_bytes} : 0U;
            if (!gather(current_, skip, held, out)) {
                scratch.failed = scratch.failure_begun = true;
                scratch.failure = current_;
                return 0;
            }
        }
        scratch.bytes = planned.bytes;
    }
    if (!errored_ && rnr_pending_)
        add_control(scratch, count, held, out, alone, request, response);
    bool more = true;
    while (more && scratch.bytes < batch_bytes) {
        more = false;
        for (const auto from : {frame_source::response, frame_source::request}) {
            if (count == scratch.frames.size() || out.capacity - out.count < pieces_max_)
                return count;
            outgoing_frame frame;
            frame.from = from;
            frame.generation = requester_.generation();
            const bool planned = from == frame_source::response
                ? (!errored_ || answer_reads_)
                    && responder_.plan(response, fragment_bytes_max_, frame.header, frame.index)
                : !errored_ && requester_.plan(request, frame.header, frame.index);
            if (!planned)
                continue;
            more = true;
            if (!add_frame(scratch, count, frame, request, response, held, out))
                return count;
        }
    }
    if (!more && (errored_ || !rnr_pending_))
        add_control(scratch, count, held, out, alone, request, response);
    return count;
}

void queue_pair::commit(const output_scratch& scratch, std::size_t count, std::size_t bytes)
{
    const bool resumed = current_active_;
    const auto before_resume = current_written_;
    for (std::size_t i = 0; i != count && bytes != 0; ++i) {
        const auto& planned = scratch.frames[i];
        const auto& frame = planned.frame;
        const bool again = i == 0 && resumed;
        if (!again) {
            requester_.start(planned.request_after);
            responder_.start(planned.response_after);
            acknowledged_ = frame.header.acknowledge;
            if (frame.from == frame_source::control) {
                rnr_pending_ = rnr_pending_ && frame.header.type != frame_type::negative_acknowledge;
                goodbye_pending_ = false;
            }
        }
        if (bytes < planned.bytes) {
            current_ = frame;
            current_active_ = true;
            current_written_ = static_cast<std::uint32_t>(bytes) + (again ? before_resume : 0U);
            return;
        }
        bytes -= planned.bytes;
        current_active_ = false;
        if (frame.from == frame_source::request)
            requester_.written(frame.header, frame.index, frame.generation);
        else if (frame.from == frame_source::response)
            responder_.written(frame.header);
    }
}

/// A frame's key died before the frame was written whole.
void queue_pair::bad_key(const outgoing_frame& frame, bool begun)
{
    if (frame.from == frame_source::request) {
        requester_.fail(frame.index, completion_status::local_protection_error);
        if (begun)
            enter_error(completion_status::flushed, goodbye::none);
        else
            complete_sends();
        return;
    }
    const auto message = responder_.message_of(frame.index);
    if (begun && !errored_) {
        if (ends_response(frame.header)) {
            enter_error(completion_status::flushed, goodbye::none); // it would complete the read
            return;
        }
        stash_zeros();
    }
    if (!errored_) {
        enter_error(completion_status::flushed, goodbye::refusal, refusal::remote_access, message, false);
        return;
    }
    answer_reads_ = false;
    goodbye_.message = message;
    goodbye_.code = static_cast<std::uint16_t>(refusal::remote_access);
}

void queue_pair::close_output()
{
    if (output_closed_)
        return;
    output_closed_ = true;
    current_active_ = false;
    goodbye_pending_ = false;
    blocked_ = false;
    link_->close_for_writing();
    ::shutdown(socket(), SHUT_WR);
}

void queue_pair::turn_output(output_scratch& scratch, bool alone)
{
    if (!adopted_ || output_closed_ || output_dead_)
        return;
    if (!errored_ && link_->reached() != link::phase::established)
        return;
    if (requester_.rnr_waiting() && owner_.time().now() >= rnr_until_)
        requester_.end_rnr_wait();
    for (;;) {
        held_keys held;
        piece_list out{scratch.pieces.data(), 0, scratch.pieces.size()};
        const auto count = build(scratch, held, out, alone);
        blocked_ = false;
        if (count == 0)
            break;
        if (!link_->begin_write()) {
            output_closed_ = true; // the channel's thread has said good-bye
            return;
        }
        msghdr message{};
        message.msg_iov = out.pieces;
        message.msg_iovlen = out.count;
        const auto written = ::sendmsg(socket(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        held.leave_to(0);
        if (written < 0 && errno != EAGAIN && errno != EINTR) {
            output_dead_ = true; // whatever the peer said before is still to be read
            break;
        }
        const auto bytes = written < 0 ? 0 : static_cast<std::size_t>(written);
        commit(scratch, count, bytes);
        scratch.written += bytes;
        blocked_ = bytes < scratch.bytes;
        if (blocked_)
            attend();
        if (!current_active_)
            link_->end_write();
        if (blocked_ || !scratch.failed)
            break;
    }
    if (scratch.failed && !blocked_) {
        const auto failure = scratch.failure;
        scratch.failed = false;
        bad_key(failure, scratch.failure_begun);
    }
    complete_sends();
    if (errored_ && !blocked_ && !current_active_ && !goodbye_pending_
        && !(answer_reads_ && responder_.has_responses()))
        close_output();
    else if (wants_turn())
        mark();
}

} // namespace penstock::fabric::tcp
