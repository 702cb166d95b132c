#include "fabric/tcp/completion_queue.hpp"

#include "fabric/tcp/device.hpp"
#include "fabric/tcp/queue_pair.hpp"
#include <penstock/core/fork.hpp>

#include <cstring>

namespace penstock::fabric::tcp {

error_code queue_pair::move_to_error()
{
    if (core::forked())
        return error_code(errc::forked);
    look_at_link();
    if (!errored_)
        enter_error(completion_status::flushed, goodbye::silent);
    return {};
}

/// The frame that ERROR interrupts must be finished, or the good-bye behind it could not be read; but its bytes belong
/// to the application again as soon as the flush is told. So the rest of it is copied.
void queue_pair::stash_current()
{
    const auto header_rest = current_written_ < header_bytes ? header_bytes - current_written_ : 0;
    const auto skip = current_written_ > header_bytes ? current_written_ - std::uint32_t{header_bytes} : 0U;
    std::array<iovec, held_keys::capacity> pieces;
    piece_list payload{pieces.data(), 0, pieces.size()};
    held_keys held;
    if (!gather(current_, skip, held, payload)) {
        close_output();
        return;
    }
    header_buffer header;
    encode(current_.header, header);
    stash_.resize(header_rest + current_.header.length - skip);
    std::memcpy(stash_.data(), header.data() + (header_bytes - header_rest), header_rest);
    auto* to = stash_.data() + header_rest;
    for (std::size_t i = 0; i != payload.count; ++i) {
        std::memcpy(to, pieces[i].iov_base, pieces[i].iov_len);
        to += pieces[i].iov_len;
    }
    if (current_.from == frame_source::response)
        responder_.written(current_.header);
    current_.from = frame_source::stash;
    current_.index = 0;
    current_written_ = 0;
}

/// For a response whose source is gone: the frame is finished with zeros, and the refusal behind it tells.
void queue_pair::stash_zeros()
{
    const auto skip = std::max(current_written_, std::uint32_t{header_bytes}) - std::uint32_t{header_bytes};
    header_buffer header;
    encode(current_.header, header);
    const auto header_rest = header_bytes - std::min<std::size_t>(current_written_, header_bytes);
    stash_.assign(header_rest + current_.header.length - skip, std::byte{});
    std::copy_n(header.end() - static_cast<std::ptrdiff_t>(header_rest), header_rest, stash_.begin());
    current_.from = frame_source::stash;
    current_.index = 0;
    current_written_ = 0;
}

void queue_pair::flush_receives()
{
    finished_receive flushed;
    if (responder_.take_claimed(flushed))
        push_receive(flushed);
    if (!own_receives_)
        return;
    for (auto slot = own_receives_->claim(); slot != receive_pool::none; slot = own_receives_->claim()) {
        flushed = {};
        flushed.slot = slot;
        flushed.completion.id = own_receives_->id(slot);
        flushed.completion.status = completion_status::flushed;
        flushed.completion.queue_pair_number = context_.queue_pair;
        push_receive(flushed);
    }
}

void queue_pair::enter_error(completion_status oldest, goodbye how)
{
    enter_error(oldest, how, refusal::none, 0, false);
}

void queue_pair::enter_error(
    completion_status oldest, goodbye how, refusal why, std::uint32_t message, bool answer_reads)
{
    if (errored_)
        return;
    errored_ = true;
    link_->fail();
    landing_ = landing::discard;
    if (adopted_ && !output_closed_) {
        if (how == goodbye::none || output_dead_)
            close_output();
        else if (current_active_ && current_.from != frame_source::control && current_.from != frame_source::stash)
            stash_current();
    }
    goodbye_ = {};
    goodbye_pending_ = how == goodbye::disconnect || how == goodbye::refusal
        || (how == goodbye::silent && acknowledged_ != responder_.expected());
    if (how == goodbye::disconnect)
        goodbye_.type = frame_type::disconnect;
    answer_reads_ = answer_reads;
    if (how == goodbye::refusal) {
        goodbye_.type = frame_type::negative_acknowledge;
        goodbye_.message = message;
        goodbye_.code = static_cast<std::uint16_t>(why);
    }
    while (const auto* entry = requester_.retire()) {
        push_send(*entry, entry->failure);
        if (entry->failure != completion_status::success)
            oldest = completion_status::flushed;
    }
    while (const auto* entry = requester_.flush(oldest)) {
        push_send(*entry, oldest);
        oldest = completion_status::flushed;
    }
    flush_receives();
    link_->tell(connection_event_type::disconnected);
    if (adopted_ && !output_closed_)
        turn_output(send_completions_.output(), true);
}

void queue_pair::peer_closed()
{
    input_dead_ = true;
    receive_completions_.input_ended(*this);
    if (&send_completions_ != &receive_completions_)
        send_completions_.input_ended(*this);
    if (!errored_)
        enter_error(completion_status::transport_retry_exceeded, goodbye::none);
    else
        close_output();
}

void queue_pair::protocol_error(const char* what)
{
    owner_.count_protocol_error(context_.queue_pair, what);
    enter_error(completion_status::bad_response, goodbye::none);
}

} // namespace penstock::fabric::tcp
