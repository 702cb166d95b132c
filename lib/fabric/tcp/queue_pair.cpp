#include "fabric/tcp/queue_pair.hpp"

#include <penstock/core/fork.hpp>

#include "fabric/tcp/completion_queue.hpp"
#include "fabric/tcp/device.hpp"

#include <sys/socket.h>

namespace penstock::fabric::tcp {
namespace {

error_code check_options(const device_limits& limits, std::uint32_t domain, const queue_pair_options& options)
{
    if (!options.send_completions || !options.receive_completions)
        return errc::invalid_argument;
    if (options.send_depth == 0 || options.send_depth > limits.send_depth_max)
        return errc::invalid_argument;
    if (options.send_segments_max > limits.segments_max || options.receive_segments_max > limits.segments_max)
        return errc::invalid_argument;
    if (options.inline_bytes_max > limits.inline_bytes_max)
        return errc::invalid_argument;
    if (options.shared_receives) {
        if (static_cast<shared_receives*>(options.shared_receives)->domain_number != domain)
            return errc::invalid_argument;
    } else if (options.receive_depth == 0 || options.receive_depth > limits.receive_depth_max) {
        return errc::invalid_argument;
    }
    return {};
}

} // namespace

result<std::unique_ptr<fabric::queue_pair>> queue_pair::create(
    device& owner, std::uint32_t domain, const queue_pair_options& options)
{
    if (const auto error = check_options(owner.limits(), domain, options); error)
        return error;
    auto& send = *static_cast<completion_queue*>(options.send_completions);
    auto& receive = *static_cast<completion_queue*>(options.receive_completions);
    const auto receives = options.shared_receives ? 0U : options.receive_depth;
    if (!send.reserve(options.send_depth))
        return error_code(errc::completion_queue_full);
    if (!receive.reserve(receives)) {
        send.unreserve(options.send_depth);
        return error_code(errc::completion_queue_full);
    }
    return std::unique_ptr<fabric::queue_pair>(
        std::make_unique<queue_pair>(owner, domain, owner.next_queue_pair_number(), options));
}

queue_pair::queue_pair(device& owner, std::uint32_t domain, std::uint32_t number, const queue_pair_options& options)
    : owner_(owner)
    , context_{&owner.keys(), domain, number}
    , send_completions_(*static_cast<completion_queue*>(options.send_completions))
    , receive_completions_(*static_cast<completion_queue*>(options.receive_completions))
    , own_receives_(options.shared_receives
              ? nullptr
              : std::make_unique<receive_pool>(options.receive_depth, options.receive_segments_max))
    , receives_(own_receives_ ? own_receives_.get() : &static_cast<shared_receives*>(options.shared_receives)->pool)
    , inline_bytes_max_(options.inline_bytes_max)
    , receive_depth_(own_receives_ ? options.receive_depth : 0)
    , send_depth_(options.send_depth)
    , pieces_max_(std::max(options.send_segments_max, 1U) + 1U)
    , link_(std::make_shared<link>(send_completions_.signal(), receive_completions_.signal()))
    , requester_(context_,
          {options.send_depth, options.send_segments_max, options.inline_bytes_max, owner.options().fragment_bytes_max})
    , responder_(context_, receives_)
    , fragment_bytes_max_(owner.options().fragment_bytes_max)
    , direct_bytes_min_(owner.options().direct_bytes_min)
{
    receive_completions_.add(*this);
    if (&send_completions_ != &receive_completions_)
        send_completions_.add(*this);
}

queue_pair::~queue_pair()
{
    if (core::forked())
        return;
    look_at_link();
    link_->abandon();
    if (!errored_ && adopted_)
        enter_error(completion_status::flushed, goodbye::silent);
    if (adopted_) {
        discard_unread(socket());
        ::shutdown(socket(), SHUT_RDWR);
    }
    link_->fail();
    link_->tell(connection_event_type::disconnected);
    receive_completions_.remove(*this);
    receive_completions_.unreserve(receive_depth_);
    if (&send_completions_ != &receive_completions_)
        send_completions_.remove(*this);
    send_completions_.unreserve(send_depth_);
}

queue_pair_state queue_pair::state() const noexcept
{
    if (link_->failed())
        return queue_pair_state::error;
    switch (link_->reached()) {
    case link::phase::initial: break;
    case link::phase::accepted: return queue_pair_state::ready_to_receive;
    case link::phase::established: return queue_pair_state::ready_to_send;
    }
    return queue_pair_state::init;
}

void queue_pair::adopt()
{
    adopted_ = true;
    const auto& terms = link_->terms();
    requester_.set_reads_max(terms.initiator_depth);
    requester_.set_rnr_retry_count(terms.rnr_retry_count);
    receive_completions_.adopt(*this);
    if (&send_completions_ != &receive_completions_)
        send_completions_.adopt(*this);
}

void queue_pair::look_at_link()
{
    if (!adopted_ && link_->reached() != link::phase::initial)
        adopt();
    if (!errored_ && link_->close_requested())
        enter_error(completion_status::flushed, goodbye::disconnect);
}

void queue_pair::attend()
{
    receive_completions_.attend(*this);
    if (&send_completions_ != &receive_completions_)
        send_completions_.attend(*this);
}

void queue_pair::mark()
{
    receive_completions_.mark(*this);
    if (&send_completions_ != &receive_completions_)
        send_completions_.mark(*this);
}

post_result queue_pair::post_send(std::span<const send_request> requests)
{
    if (core::forked())
        return {0, errc::forked};
    post_result result;
    quiet_reads_ = 0; // an answer will come
    if (!errored_)
        look_at_link();
    if (!errored_ && link_->reached() != link::phase::established) {
        // A queue pair that failed before it was connected flushes; one that is not connected yet refuses.
        result.error = errc::wrong_state;
        return result;
    }
    for (const auto& request : requests) {
        result.error = requester_.check(request);
        if (result.error)
            break;
        requester_.append(request);
        ++result.posted;
    }
    if (errored_) {
        while (const auto* entry = requester_.flush(completion_status::flushed))
            push_send(*entry, completion_status::flushed);
        return result;
    }
    turn_output(send_completions_.output(), false);
    return result;
}

post_result queue_pair::post_receive(std::span<const receive_request> requests)
{
    if (core::forked())
        return {0, errc::forked};
    if (!own_receives_)
        return {0, errc::wrong_state};
    const auto result = own_receives_->post(requests);
    if (errored_)
        flush_receives();
    return result;
}

void queue_pair::release(std::uint32_t send_slots, std::uint32_t receive_slot) noexcept
{
    requester_.release(send_slots);
    if (receive_slot != receive_pool::none && own_receives_)
        own_receives_->release(receive_slot);
}

void queue_pair::push_send(const send_entry& entry, completion_status status)
{
    if (status == completion_status::success && !entry.signaled) {
        ++unreported_;
        return;
    }
    completion_entry out;
    out.owner = this;
    out.send_slots = std::exchange(unreported_, 0U) + 1;
    out.completion.id = entry.id;
    out.completion.status = status;
    out.completion.operation = completion_of(entry.operation);
    out.completion.queue_pair_number = context_.queue_pair;
    out.wakes_solicited = status != completion_status::success;
    if (status == completion_status::success && is_response_operation(entry.operation))
        out.completion.byte_count = static_cast<std::uint32_t>(entry.bytes);
    send_completions_.push(out);
}

void queue_pair::push_receive(const finished_receive& finished)
{
    completion_entry out;
    out.owner = this;
    out.completion = finished.completion;
    out.wakes_solicited = finished.solicited || finished.completion.status != completion_status::success;
    if (own_receives_)
        out.receive_slot = finished.slot;
    else
        receives_->release(finished.slot);
    receive_completions_.push(out);
}

void queue_pair::complete_sends()
{
    while (const auto* entry = requester_.retire()) {
        const auto status = entry->failure;
        push_send(*entry, status);
        if (status != completion_status::success && !errored_) {
            enter_error(completion_status::flushed, goodbye::silent);
            return;
        }
    }
}

bool queue_pair::wants_turn() const noexcept
{
    if (!adopted_ || output_closed_ || output_dead_)
        return false;
    if (errored_)
        return true;
    return current_active_ || rnr_pending_ || acknowledged_ != responder_.expected() || requester_.has_work()
        || responder_.has_responses();
}

} // namespace penstock::fabric::tcp
