#include <penstock/connection/lane.hpp>

#include "event_router.hpp"

#include <algorithm>
#include <array>
#include <cassert>

namespace penstock::connection {

struct lane::receive_operation {
    static constexpr bool persistent = true;
    lane* owner;
    std::uint32_t index;
    void complete(const fabric::work_completion& completion) { owner->received(index, completion); }
};

lane::lane(runtime& rt, runtime_device& device, const lane_options& options)
    : runtime_(rt)
    , device_(device)
    , options_(options)
    , down_timer_([this] {
        runtime_.poller().release_hold();
        if (auto call = std::exchange(on_down_, nullptr)) {
            call(why_);
        }
    })
{}

lane::~lane()
{
    dismantle();
}

void lane::dismantle() noexcept
{
    if (link_) {
        runtime_.router(device_.device->info().kind)->unwatch(*link_);
    }
    free_windows_.clear();
    windows_.clear();
    pair_.reset();
    link_.reset();
    for (const auto id : receive_operations_) {
        runtime_.poller().release(id);
    }
    receive_operations_.clear();
}

result<std::unique_ptr<lane>> lane::create(runtime& rt, runtime_device& device, const lane_options& options)
{
    std::unique_ptr<lane> made(new lane(rt, device, options));
    if (const auto error = made->allocate(); error.failed()) {
        made->receives_in_flight_ = 0; // nothing can arrive on a pair that was never connected
        return error;
    }
    return made;
}

result<std::vector<message_slot>> lane::carve(std::uint32_t count, std::uint32_t bytes)
{
    std::vector<message_slot> slots;
    slots.reserve(count);
    std::size_t offset = 0;
    const memory::buffer* home = nullptr;
    while (slots.size() != count) {
        if (home == nullptr || offset + bytes > home->size()) {
            auto more = runtime_.messages().acquire();
            if (!more) {
                return more.error();
            }
            if (more->size() < bytes) {
                return make_error_code(errc::message_too_long);
            }
            memory_.push_back(std::move(*more));
            home = &memory_.back();
            offset = 0;
        }
        const auto piece = home->slice(offset, bytes);
        slots.push_back({piece.bytes(), piece.segment(device_.index).lkey, static_cast<std::uint32_t>(slots.size())});
        offset += bytes;
    }
    return slots;
}

error_code lane::allocate()
{
    memory_.reserve(options_.receives + options_.sends);
    auto receives = carve(options_.receives, options_.receive_bytes);
    if (!receives) {
        return receives.error();
    }
    auto sends = carve(options_.sends, options_.send_bytes);
    if (!sends) {
        return sends.error();
    }
    receives_ = std::move(*receives);
    messages_ = std::move(*sends);
    for (std::uint32_t index = options_.sends; index-- != 0;) {
        free_messages_.push_back(index);
    }

    fabric::queue_pair_options wanted;
    wanted.send_completions = device_.completions.get();
    wanted.receive_completions = device_.completions.get();
    wanted.send_depth = options_.send_depth;
    wanted.receive_depth = options_.receives;
    wanted.send_segments_max = 2;
    auto pair = device_.domain->create_queue_pair(wanted);
    if (!pair) {
        return pair.error();
    }
    pair_ = std::move(*pair);
    for (std::uint32_t count = 0; count != options_.windows; ++count) {
        auto window = device_.domain->allocate_window();
        if (!window) {
            return window.error();
        }
        free_windows_.push_back(window->get());
        windows_.push_back(std::move(*window));
    }
    for (std::uint32_t index = 0; index != options_.receives; ++index) {
        auto id = runtime_.poller().start<receive_operation>(this, index);
        if (!id) {
            return id.error();
        }
        receive_operations_.push_back(*id);
        if (const auto error = post_receive(index); error.failed()) {
            return error;
        }
    }
    return {};
}

error_code lane::post_receive(std::uint32_t index)
{
    const std::array segments{receives_[index].segment(options_.receive_bytes)};
    const std::array requests{fabric::receive_request{receive_operations_[index], segments}};
    const auto posted = pair_->post_receive(requests);
    receives_in_flight_ += posted.posted == 1 ? 1U : 0U;
    return posted.error;
}

void lane::received(std::uint32_t index, const fabric::work_completion& completion)
{
    --receives_in_flight_;
    if (completion.status != completion_status::success) {
        fail(completion.status == completion_status::flushed ? make_error_code(errc::connection_lost)
                                                             : make_error_code(completion.status));
        check_idle();
        return;
    }
    if (retiring_ || failed_) {
        check_idle();
        return;
    }
    if (completion.operation == fabric::completion_opcode::receive_write_immediate) {
        if (on_immediate_) { // its bytes are not in the receive
            on_immediate_(completion.immediate_data, completion.byte_count);
        }
    } else if (on_message_) {
        on_message_(std::span<const std::byte>(receives_[index].bytes).first(completion.byte_count));
    }
    if (!failed_ && post_receive(index).failed()) {
        fail(errc::lane_error);
    }
    check_idle();
}

void lane::attach(
    std::unique_ptr<fabric::connection> link, std::function<void(const fabric::connection_event&)> established)
{
    link_ = std::move(link);
    established_ = std::move(established);
    runtime_.router(device_.device->info().kind)->watch(*link_, [this](fabric::connection_event& event) {
        handle(event);
    });
}

void lane::handle(const fabric::connection_event& event)
{
    using enum fabric::connection_event_type;
    if (event.type == established || event.type == rejected || event.type == unreachable || event.type == failed) {
        if (auto call = std::exchange(established_, nullptr)) {
            call(event); // may give this lane away to be retired
            return;
        }
    }
    if (event.type == established) {
        return;
    }
    if (auto call = std::exchange(established_, nullptr)) {
        call(event);
        return;
    }
    fail(event.error.failed() ? event.error : make_error_code(errc::connection_lost));
}

error_code lane::post(std::span<const fabric::send_request> requests)
{
    if (failed_) {
        return errc::lane_error;
    }
    const auto count = static_cast<std::uint32_t>(requests.size());
    if (count > send_room()) {
        return errc::send_queue_full;
    }
    auto posted = pair_->post_send(requests);
    if (posted.error.failed() && posted.posted == 0) {
        return posted.error;
    }
    sends_in_flight_ += count;
    if (posted.error.failed()) {
        // A partly posted chain cannot be taken back. In ERROR the rest is accepted and flushed, so that the operation ends.
        fail(errc::lane_error);
        posted = pair_->post_send(requests.subspan(posted.posted));
        assert(!posted.error.failed());
    }
    return {};
}

void lane::ended(std::uint32_t requests) noexcept
{
    sends_in_flight_ -= requests;
    check_idle();
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

result<fabric::memory_window*> lane::acquire_window() noexcept
{
    if (free_windows_.empty()) {
        return make_error_code(errc::send_queue_full);
    }
    auto* const window = free_windows_.back();
    free_windows_.pop_back();
    return window;
}

void lane::fail(error_code why) noexcept
{
    if (failed_) {
        return;
    }
    failed_ = true;
    why_ = why;
    if (pair_) {
        (void)pair_->move_to_error();
    }
    if (!retiring_) {
        runtime_.poller().hold(); // until the owner has been told
        runtime_.poller().timers().start(down_timer_, runtime_.time().now());
    }
}

void lane::begin_retirement(std::function<void()> idle) noexcept
{
    retiring_ = true;
    on_idle_ = std::move(idle);
    on_down_ = nullptr;
    established_ = nullptr;
    if (down_timer_.running()) {
        down_timer_.stop();
        runtime_.poller().release_hold();
    }
    fail(errc::connection_closed);
    if (link_) {
        (void)link_->disconnect();
    }
    check_idle();
}

void lane::check_idle() noexcept
{
    if (retiring_ && idle()) {
        if (auto call = std::exchange(on_idle_, nullptr)) {
            call();
        }
    }
}

} // namespace penstock::connection
