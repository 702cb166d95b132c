// The messages of a lane: their memory, their credits, and what becomes of one that arrives.

#include <penstock/connection/lane.hpp>

#include <cassert>
#include <utility>

namespace penstock::connection {
namespace {

error_code death_by(completion_status status)
{
    return status == completion_status::flushed ? make_error_code(errc::connection_lost) : make_error_code(status);
}

bool is_send(fabric::opcode operation) noexcept
{
    using enum fabric::opcode;
    return operation == send || operation == send_with_immediate || operation == send_with_invalidate;
}

} // namespace

struct lane::receive_operation {
    static constexpr bool persistent = true;
    lane* owner;
    std::uint32_t index;
    void complete(const fabric::work_completion& completion) { owner->received(index, completion); }
};

struct lane::credit_operation {
    static constexpr bool persistent = true;
    lane* owner;
    std::uint32_t index;
    void complete(const fabric::work_completion& completion) { owner->credit_sent(index, completion); }
};

result<message_slot> lane::carve(std::uint32_t bytes)
{
    auto& memory = receives_->memory;
    const std::uint32_t header = options_.credits ? message_header_bytes : 0;
    const std::size_t length = header + bytes;
    if (memory.empty() || carved_ + length > memory.back().size()) {
        auto more = runtime_.messages().acquire();
        if (!more) {
            return more.error();
        }
        if (more->size() < length) {
            return make_error_code(errc::message_too_long);
        }
        memory.push_back(std::move(*more));
        carved_ = 0;
    }
    const auto piece = memory.back().slice(carved_, length);
    carved_ += length;
    return message_slot{piece.bytes().subspan(header), piece.segment(device_.index).lkey, 0, header};
}

error_code lane::allocate_messages()
{
    auto& receives = receives_->slots;
    receives.resize(options_.receives + (options_.credits ? credit_receives : 0));
    messages_.resize(options_.sends);
    credit_messages_.resize(options_.credits ? credit_receives : 0);
    for (std::uint32_t index = 0; index != receives.size(); ++index) {
        const auto made = carve(options_.receive_bytes);
        if (!made) {
            return made.error();
        }
        const auto whole = made->segment(options_.receive_bytes);
        auto& slot = receives[index];
        slot.home = receives_.get();
        slot.bytes = {whole.address, whole.length};
        slot.lkey = whole.lkey;
        slot.index = index;
    }
    for (auto* const slots : {&messages_, &credit_messages_}) {
        auto& free = slots == &messages_ ? free_messages_ : free_credits_;
        for (std::uint32_t index = 0; index != slots->size(); ++index) {
            const auto made = carve(slots == &messages_ ? options_.send_bytes : 0);
            if (!made) {
                return made.error();
            }
            (*slots)[index] = *made;
            (*slots)[index].index = index;
            free.push_back(index);
        }
    }
    return {};
}

error_code lane::start_receives()
{
    auto& poller = runtime_.poller();
    for (std::uint32_t index = 0; index != receives_->slots.size(); ++index) {
        const auto id = poller.start<receive_operation>(this, index);
        if (!id) {
            return id.error();
        }
        receive_operations_.push_back(*id);
        if (const auto error = post_receive(index); error.failed()) {
            return error;
        }
    }
    for (std::uint32_t index = 0; index != credit_messages_.size(); ++index) {
        const auto id = poller.start<credit_operation>(this, index);
        if (!id) {
            return id.error();
        }
        credit_operations_.push_back(*id);
    }
    return {};
}

error_code lane::post_receive(std::uint32_t index)
{
    const auto& slot = receives_->slots[index];
    const fabric::local_segment segment{slot.bytes.data(), static_cast<std::uint32_t>(slot.bytes.size()), slot.lkey};
    const fabric::receive_request request{receive_operations_[index], {&segment, 1}};
    const auto posted = pair_->post_receive({&request, 1});
    receives_in_flight_ += posted.posted == 1 ? 1U : 0U;
    return posted.error;
}

void lane::received(std::uint32_t index, const fabric::work_completion& completion)
{
    --receives_in_flight_;
    if (completion.status != completion_status::success) {
        fail(death_by(completion.status));
    } else {
        if (auto call = std::exchange(established_, nullptr)) { // the event that says so may come later
            fabric::connection_event proven;
            proven.type = fabric::connection_event_type::established;
            call(proven); // may give this lane away to be retired
        }
        if (!retiring_ && !failed_) {
            arrived(index, completion);
        }
    }
    check_idle();
}

void lane::arrived(std::uint32_t index, const fabric::work_completion& completion)
{
    auto& slot = receives_->slots[index];
    const bool immediate = completion.operation == fabric::completion_opcode::receive_write_immediate;
    slot.payload = immediate ? std::span<std::byte>{} : slot.bytes.first(completion.byte_count);
    if (options_.credits) {
        using enum message_credits::arrival;
        switch (immediate ? credits_.immediate_arrived() : credits_.message_arrived(slot.payload)) {
        case malformed: return fail(errc::malformed_message);
        case excess: return fail(errc::unexpected_message);
        case credit:
            if (post_receive(index).failed()) {
                fail(errc::lane_error);
            }
            return serve_waiting();
        case message: break;
        }
        slot.payload = immediate ? slot.payload : slot.payload.subspan(message_header_bytes);
        serve_waiting(); // before whoever sends in the handler
    }
    if (!immediate && (parks_ || !parked_.empty())) {
        parked_.push_back(slot);
        return;
    }
    deliver(slot, completion);
    return_credits(); // the peer may have spent its last one
}

void lane::unpark() noexcept
{
    parks_ = false;
    if (!parked_.empty()) {
        runtime_.poller().timers().start(parked_timer_, runtime_.time().now());
    }
}

// One at a time: each may throw, or retire this lane.
void lane::deliver_parked()
{
    if (failed_ || parks_) {
        return;
    }
    auto& slot = parked_.front();
    parked_.pop_front();
    if (!parked_.empty()) {
        runtime_.poller().timers().start(parked_timer_, runtime_.time().now());
    }
    deliver(slot, {});
    return_credits();
}

void lane::deliver(receive_slot& slot, const fabric::work_completion& completion)
{
    // The receive is posted again also when the handler throws. A handler may poll, and another message's run inside it.
    struct delivery {
        lane* on;
        receive_slot* slot;
        receive_slot* outer;
        ~delivery()
        {
            if (std::exchange(on->delivering_, outer) == slot) {
                on->receive_again(slot->index);
            }
        }
    };
    const delivery running{this, &slot, std::exchange(delivering_, &slot)};
    if (completion.operation == fabric::completion_opcode::receive_write_immediate) {
        if (on_immediate_) { // its bytes are not in the receive
            on_immediate_(completion.immediate_data, completion.byte_count);
        }
    } else if (on_message_) {
        on_message_(slot.payload);
    } else if (inbox_ != nullptr) {
        delivering_ = nullptr;
        inbox_->arrived(slot);
    }
}

bool lane::has_turn() const noexcept
{
    return !failed_ && credits_.available() != 0 && send_room() != 0;
}

void lane::serve_waiting() noexcept
{
    while (!waiting_.empty() && (failed_ || has_turn())) {
        auto& who = waiting_.front();
        waiting_.pop_front();
        who.turn(failed_ ? why_ : error_code());
    }
}

received_message lane::keep_message() noexcept
{
    assert(delivering_ != nullptr && "outside the message's handler, or twice");
    auto* const slot = std::exchange(delivering_, nullptr);
    receives_->kept += slot != nullptr ? 1U : 0U;
    return slot != nullptr ? received_message(*slot) : received_message();
}

void received_message::give_back(receive_slot& slot) noexcept
{
    auto* const home = slot.home;
    --home->kept;
    if (home->owner != nullptr) {
        home->owner->receive_again(slot.index);
    } else if (home->kept == 0) {
        delete home;
    }
}

void lane::receive_again(std::uint32_t index) noexcept
{
    if (failed_) {
        return;
    }
    if (post_receive(index).failed()) {
        fail(errc::lane_error);
    } else if (options_.credits) {
        credits_.receive_posted(); // after the post: what the peer is told of is there
        return_credits();
    }
}

void lane::return_credits() noexcept
{
    if (!options_.credits || failed_ || !credits_.credit_due() || free_credits_.empty()) {
        return;
    }
    const auto index = free_credits_.back();
    free_credits_.pop_back();
    const auto segment = credit_messages_[index].segment(0);
    credits_.send_credit(message_credits::header(segment.address, message_header_bytes));
    fabric::send_request request;
    request.id = credit_operations_[index];
    request.operation = fabric::opcode::send;
    request.local = {&segment, 1};
    if (pair_->post_send({&request, 1}).error.failed()) {
        free_credits_.push_back(index);
        fail(errc::lane_error);
    }
}

void lane::credit_sent(std::uint32_t index, const fabric::work_completion& completion) noexcept
{
    free_credits_.push_back(index);
    if (completion.status == completion_status::success) {
        return_credits();
    } else {
        fail(death_by(completion.status));
    }
    check_idle();
}

// All or nothing. The first message takes along what is owed.
error_code lane::stamp(std::span<const fabric::send_request> requests) noexcept
{
    std::uint32_t messages = 0;
    for (const auto& request : requests) {
        const bool send = is_send(request.operation);
        if (send && (request.local.empty() || request.local.front().length < message_header_bytes)) {
            return errc::invalid_argument;
        }
        messages += send || request.operation == fabric::opcode::write_with_immediate ? 1U : 0U;
    }
    if (messages > credits_.available()) {
        return errc::send_queue_full;
    }
    for (auto at = requests.begin(); messages != 0; ++at) {
        if (is_send(at->operation)) {
            credits_.send_message(message_credits::header(at->local.front().address, message_header_bytes));
            --messages;
        } else if (at->operation == fabric::opcode::write_with_immediate) {
            credits_.send_immediate();
            --messages;
        }
    }
    return {};
}

result<message_slot> lane::acquire_message() noexcept
{
    if (free_messages_.empty()) {
        return make_error_code(errc::send_queue_full);
    }
    const auto index = free_messages_.back();
    free_messages_.pop_back();
    return messages_[index];
}

} // namespace penstock::connection
