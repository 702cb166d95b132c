#include "storage/client_requests.hpp"

#include <penstock/core/checksum.hpp>
#include <penstock/transfer/transfer.hpp>

#include <array>

namespace penstock::storage {

std::shared_ptr<client_requests> client_requests::create(
    runtime& rt, std::unique_ptr<connection::connection> over, checksum_mode checksum)
{
    std::shared_ptr<client_requests> made(new client_requests(rt, std::move(over), checksum));
    // Weak: the connection is part of what it would keep alive.
    made->connection_->on_message([weak = std::weak_ptr(made)](std::span<const std::byte> message) {
        if (const auto self = weak.lock()) {
            self->on_answer(message);
        }
    });
    made->connection_->on_down([weak = std::weak_ptr(made)](error_code why) {
        if (const auto self = weak.lock()) {
            self->close(why);
        }
    });
    return made;
}

client_requests::client_requests(runtime& rt, std::unique_ptr<connection::connection> over, checksum_mode checksum)
    : runtime_(rt)
    , connection_(std::move(over))
    , checksum_(checksum)
    , transfer_bytes_max_(static_cast<std::size_t>(connection_->properties().transfer_bytes_max))
    , slots_(connection_->properties().depth)
{
    free_.reserve(slots_.size());
    for (auto slot = static_cast<std::uint32_t>(slots_.size()); slot-- != 0;) {
        free_.push_back(slot);
    }
}

void client_requests::refuse(finish_handler finish, error_code why)
{
    boost::asio::post(
        runtime_.executor(), [finish = std::move(finish), why]() mutable { std::move(finish)(why, response{}); });
}

void client_requests::start(request asked, memory::local_buffer buffer, finish_handler finish)
{
    if (closed_.failed()) {
        refuse(std::move(finish), closed_);
        return;
    }
    if (buffer.size() > transfer_bytes_max_ || asked.name.size() > name_bytes_max
        || asked.after.size() > component_bytes_max) {
        refuse(std::move(finish), errc::invalid_argument);
        return;
    }
    if (free_.empty()) {
        refuse(std::move(finish), errc::send_queue_full);
        return;
    }
    const std::uint32_t slot = free_.back();
    free_.pop_back();
    pending& one = slots_[slot];
    one.asked = asked;
    one.asked.id = (std::uint32_t{one.generation} << 16U) | slot;
    one.asked.checksum
        = checksum_ == checksum_mode::crc32c && (reads_from_window(asked.op) || writes_to_window(asked.op));
    one.buffer = buffer;
    one.window = nullptr;
    one.finish.swap(finish); // Boost 1.81's move assignment copies, and recurses for ever
    one.active = true;
    one.sent = one.answered = false;
    one.fenced = buffer.empty();
    if (const auto error = post(slot); error.failed()) {
        one.active = false;
        free_.push_back(slot);
        refuse(std::move(one.finish), error);
        return;
    }
    runtime_.poller().hold(); // until the answer: no operation of ours may be outstanding meanwhile
}

error_code client_requests::post(std::uint32_t slot)
{
    pending& one = slots_[slot];
    auto& lane = connection_->data();
    auto message = lane.acquire_message();
    if (!message) {
        return message.error();
    }
    std::array<fabric::send_request, 2> requests;
    std::size_t count = 0;
    if (!one.buffer.empty()) {
        auto window = lane.acquire_window();
        if (!window) {
            lane.release_message(*message);
            return window.error();
        }
        one.window = *window;
        auto& bind = requests[count++];
        bind.operation = fabric::opcode::bind_window;
        bind.bind.window = one.window;
        bind.bind.region = one.buffer.region(lane.device().index);
        bind.bind.address = one.buffer.data();
        bind.bind.length = one.buffer.size();
        bind.bind.rights = reads_from_window(one.asked.op) ? fabric::access::remote_read : fabric::access::remote_write;
        one.asked.window
            = {reinterpret_cast<std::uintptr_t>(one.buffer.data()), one.buffer.size(), one.window->next_key()};
    }
    if (one.asked.checksum && reads_from_window(one.asked.op)) {
        one.asked.crc32c = crc32c(one.buffer.bytes());
    }
    const std::size_t length = encode(one.asked, message->bytes);
    const std::array segments{message->segment(length)};
    auto& send = requests[count++];
    send.operation = fabric::opcode::send;
    send.local = segments;
    one.asked.name = one.asked.after = {}; // they were the caller's
    auto sent = [self = shared_from_this(), on = &lane, kept = *message, slot](error_code error) {
        on->release_message(kept);
        if (!error.failed()) {
            self->slots_[slot].sent = true;
            self->advance(slot);
        } // else the lane is dying, and close() ends the request after the fence
    };
    const auto error = length == 0 ? make_error_code(errc::invalid_argument)
                                   : transfer::submit(lane, std::span(requests).first(count), sent);
    if (error.failed()) {
        lane.release_message(*message);
        if (one.window != nullptr) {
            lane.release_window(one.window);
        }
    }
    return error;
}

void client_requests::on_answer(std::span<const std::byte> message)
{
    const auto decoded = decode_response(message);
    const std::uint32_t slot = decoded ? decoded->id & 0xffffU : 0;
    if (!decoded || slot >= slots_.size() || !slots_[slot].active || slots_[slot].answered
        || check_answer(slots_[slot].asked, *decoded).failed()) {
        connection_->data().fail(errc::malformed_message);
        return;
    }
    pending& one = slots_[slot];
    one.answer = *decoded;
    one.answered = true;
    if (one.fenced) {
        advance(slot);
    } else {
        invalidate(slot);
    }
}

void client_requests::invalidate(std::uint32_t slot)
{
    auto& lane = connection_->data();
    fabric::send_request request;
    request.operation = fabric::opcode::local_invalidate;
    request.invalidate_key = slots_[slot].window->key();
    auto done = [self = shared_from_this(), on = &lane, slot](error_code error) {
        if (!error.failed()) {
            pending& one = self->slots_[slot];
            on->release_window(one.window);
            one.fenced = true;
            self->advance(slot);
        }
    };
    if (const auto error = transfer::submit(lane, {&request, 1}, done); error.failed()) {
        lane.fail(error);
    }
}

void client_requests::advance(std::uint32_t slot)
{
    const pending& one = slots_[slot];
    if (one.active && one.sent && one.answered && one.fenced) {
        finish(slot, one.answer.status.failed() ? one.answer.status : verify(one));
    }
}

error_code client_requests::verify(const pending& one) const
{
    if (!writes_to_window(one.asked.op) || !one.answer.checksum) {
        return {};
    }
    const auto moved = one.buffer.bytes().first(static_cast<std::size_t>(one.answer.bytes));
    return crc32c(moved) == one.answer.crc32c ? error_code{} : make_error_code(errc::integrity_error);
}

void client_requests::finish(std::uint32_t slot, error_code error)
{
    pending& one = slots_[slot];
    auto call = std::move(one.finish);
    const response answer = one.answer;
    one.active = false;
    ++one.generation;
    free_.push_back(slot);
    runtime_.poller().release_hold();
    std::move(call)(error, error.failed() ? response{} : answer);
}

void client_requests::close(error_code why)
{
    if (closed_.failed()) {
        return;
    }
    closed_ = why;
    connection_->close([self = shared_from_this()] { self->fail_all(); });
}

void client_requests::fail_all()
{
    for (std::uint32_t slot = 0; slot != slots_.size(); ++slot) {
        if (slots_[slot].active) {
            finish(slot, closed_);
        }
    }
}

} // namespace penstock::storage
