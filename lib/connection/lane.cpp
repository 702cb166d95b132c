#include <penstock/connection/lane.hpp>

#include "event_router.hpp"

#include <algorithm>
#include <cassert>

namespace penstock::connection {
namespace {

// Short messages go with the work request: the device need not fetch them. Over tcp that would save nothing.
constexpr std::uint32_t inline_bytes_wanted = 128;

} // namespace

lane::lane(runtime& rt, runtime_device& device, const lane_options& options)
    : runtime_(rt)
    , device_(device)
    , options_(options)
    , credits_(options.receives)
    , receives_(std::make_unique<receive_memory>())
    , down_timer_([this] {
        runtime_.poller().release_hold();
        if (auto call = std::exchange(on_down_, nullptr)) {
            call(why_);
        }
    })
    , parked_timer_([this] { deliver_parked(); })
{
    receives_->owner = this;
    sends_allowed_ = options_.send_depth;
}

lane::~lane()
{
    dismantle();
    parked_.clear();
    receives_->owner = nullptr;
    if (receives_->kept != 0) {
        (void)receives_.release(); // the last message that is kept destroys it
    }
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
    for (const auto id : credit_operations_) {
        runtime_.poller().release(id);
    }
    credit_operations_.clear();
}

result<std::unique_ptr<lane>> lane::create(runtime& rt, runtime_device& device, const lane_options& options)
{
    if (options.credits && (options.receives == 0 || options.receives > message_credits::granted_max)) {
        return make_error_code(errc::invalid_argument);
    }
    std::unique_ptr<lane> made(new lane(rt, device, options));
    if (const auto error = made->allocate(); error.failed()) {
        made->receives_in_flight_ = 0; // nothing can arrive on a pair that was never connected
        return error;
    }
    return made;
}

error_code lane::allocate()
{
    if (const auto error = allocate_messages(); error.failed()) {
        return error;
    }
    if (const auto error = allocate_pair(); error.failed()) {
        return error;
    }
    return start_receives();
}

error_code lane::allocate_pair()
{
    fabric::queue_pair_options wanted;
    wanted.send_completions = device_.completions.get();
    wanted.receive_completions = device_.completions.get();
    wanted.send_depth = options_.send_depth + static_cast<std::uint32_t>(credit_messages_.size());
    wanted.receive_depth = static_cast<std::uint32_t>(receives_->slots.size());
    wanted.send_segments_max = 2;
    if (options_.credits && device_.device->info().kind == fabric::transport::verbs) {
        wanted.inline_bytes_max = std::min(inline_bytes_wanted, device_.device->limits().inline_bytes_max);
    }
    auto pair = device_.domain->create_queue_pair(wanted);
    if (!pair) {
        return pair.error();
    }
    pair_ = std::move(*pair);
    for (std::uint32_t count = 0; device_.windows && count != options_.windows; ++count) {
        auto window = device_.domain->allocate_window();
        if (!window) {
            return window.error();
        }
        free_windows_.push_back(window->get());
        windows_.push_back(std::move(*window));
    }
    return {};
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

error_code lane::post_chain(std::span<const fabric::send_request> requests)
{
    if (failed_) {
        return errc::lane_error;
    }
    const auto count = static_cast<std::uint32_t>(requests.size());
    if (count > send_room()) {
        return errc::send_queue_full;
    }
    const auto before = credits_;
    if (options_.credits) {
        if (const auto error = stamp(requests); error.failed()) {
            return error;
        }
    }
    auto posted = pair_->post_send(requests);
    if (posted.error.failed() && posted.posted == 0) {
        credits_ = before;
        return posted.error;
    }
    sends_in_flight_ += count;
    if (posted.error.failed()) {
        // A partly posted chain cannot be taken back. In ERROR everything is flushed: one request more ends the operation.
        fail(errc::lane_error);
        fabric::send_request last;
        last.operation = fabric::opcode::write; // of no bytes
        last.id = requests.back().id;
        posted = pair_->post_send({&last, 1});
        assert(!posted.error.failed());
    }
    return {};
}

void lane::told_of_end() noexcept
{
    if (room_listener_ != nullptr) [[unlikely]] {
        room_listener_->room();
    }
    serve_waiting();
    if (on_quiet_ && quiet()) {
        on_quiet_();
    }
    check_idle();
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
    sends_allowed_ = 0;
    why_ = why;
    if (pair_) {
        (void)pair_->move_to_error();
    }
    serve_waiting();
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
    on_quiet_ = nullptr;
    room_listener_ = nullptr;
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
