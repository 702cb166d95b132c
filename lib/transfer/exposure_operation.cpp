#include "transfer/exposure_operation.hpp"

#include <penstock/completion/handler.hpp>
#include <penstock/transfer/transfer.hpp>

#include <boost/asio/associated_cancellation_slot.hpp>

#include <algorithm>
#include <cassert>

namespace penstock::transfer {
namespace {

constexpr std::chrono::milliseconds again_interval{1};
constexpr auto remote_rights
    = fabric::access::remote_read | fabric::access::remote_write | fabric::access::remote_atomic;

} // namespace

exposure_operation::exposure_operation(connection::connection& over, memory::local_buffer what, memory::buffer owned,
    fabric::access rights, const expose_options& options)
    : runtime_(over.owner())
    , connection_(&over)
    , memory_(what)
    , owned_(std::move(owned))
    , rights_(rights)
    , options_(options)
    , windows_(over.properties().memory_windows)
    , timer_([this] { time_passed(); })
    , again_([this] { try_again(); })
{}

error_code exposure_operation::check() const noexcept
{
    if (memory_.empty() || rights_ == fabric::access::none || !has_access(remote_rights, rights_)) {
        return errc::invalid_argument;
    }
    if (windows_ && memory_.region_bytes() != memory_.size()) {
        return errc::invalid_argument;
    }
    return connection_->lost().failed() ? make_error_code(errc::connection_lost) : error_code{};
}

void exposure_operation::start(expose_handler handler)
{
    auto error = check();
    if (!error.failed()) {
        on_exposed_.swap(handler);
        error = begin();
    }
    if (error.failed()) {
        if (on_exposed_) {
            on_exposed_.swap(handler);
        }
        ended_ = true;
        outcome_ = error;
        completion::post_handler(std::move(handler), runtime_.executor(), error, exposure(shared_from_this()));
        return;
    }
    auto& ledger = exposure_ledger::of(*connection_);
    id_ = ledger.add(*this);
    connection_->add(*this);
    runtime_.keep(shared_from_this());
    runtime_.poller().hold();
    if (auto slot = boost::asio::get_associated_cancellation_slot(on_exposed_); slot.is_connected()) {
        slot.assign([weak = weak_from_this()](boost::asio::cancellation_type_t type) {
            if ((type & boost::asio::cancellation_type::terminal) != boost::asio::cancellation_type::none) {
                if (const auto self = weak.lock()) {
                    self->cancel();
                }
            }
        });
    }
}

error_code exposure_operation::begin()
{
    error_code last = errc::connection_lost;
    revocation::handles wanted;
    const auto lanes = std::min(connection_->lane_count(), handles_.size());
    for (std::size_t index = 0; index != lanes; ++index) {
        auto* const lane = connection_->lane_at(index);
        if (lane == nullptr || lane->failed()) {
            continue;
        }
        last = windows_ ? bind(index, *lane) : register_on(*lane);
        if (!last.failed()) {
            wanted.set(windows_ ? index : lane->device().index);
        }
    }
    if (wanted.none()) {
        return last;
    }
    ladder_ = revocation(wanted);
    if (!windows_) {
        runtime_.poller().timers().start(timer_, runtime_.time().now()); // never inside the initiating function
    }
    return {};
}

error_code exposure_operation::bind(std::size_t index, connection::lane& on)
{
    const auto window = on.acquire_window();
    if (!window) {
        return window.error();
    }
    fabric::send_request request;
    request.operation = fabric::opcode::bind_window;
    request.bind.window = *window;
    request.bind.region = memory_.region(on.device().index);
    request.bind.address = memory_.data();
    request.bind.length = memory_.size();
    request.bind.rights = rights_;
    auto done = [self = shared_from_this(), index](error_code error) { self->bound(index, error); };
    const auto error = submit(on, {&request, 1}, done);
    if (error.failed()) {
        on.release_window(*window);
        return error;
    }
    handles_[index].on = &on;
    handles_[index].window = *window;
    return {};
}

error_code exposure_operation::register_on(connection::lane& on)
{
    if (on.device().index >= handles_.size()) {
        return errc::not_supported;
    }
    auto& made = handles_[on.device().index];
    if (!made.region) {
        auto region = on.device().domain->register_memory(memory_.bytes(), rights_ | fabric::access::local_write);
        if (!region) {
            return region.error();
        }
        made.region = std::move(*region);
    }
    return {};
}

void exposure_operation::bound(std::size_t index, error_code error)
{
    const auto self = shared_from_this();
    if (error.failed() && !failure_.failed()) {
        failure_ = error;
    }
    perform(error.failed() ? ladder_.bind_failed(index) : ladder_.bound(index));
}

void exposure_operation::announce()
{
    std::array<lane_key, remote_buffer::lanes_max> keys;
    std::size_t count = 0;
    for (std::size_t index = 0; connection_ != nullptr && index != connection_->lane_count(); ++index) {
        auto* const lane = connection_->lane_at(index);
        if (lane == nullptr) {
            continue;
        }
        const auto number = static_cast<std::uint16_t>(index);
        if (windows_ && ladder_.reachable()[index] && lane == handles_[index].on) {
            keys[count++] = {number, handles_[index].window->key()};
        } else if (!windows_ && lane->device().index < handles_.size()) {
            if (const auto& region = handles_[lane->device().index].region; region) {
                keys[count++] = {number, region->rkey()};
            }
        }
    }
    const auto made = connection_ == nullptr
        ? result<remote_buffer>(make_error_code(errc::connection_lost))
        : remote_buffer::make(id_, reinterpret_cast<std::uintptr_t>(memory_.data()), memory_.size(),
            connection_->properties().epoch, rights_, std::span(keys).first(count));
    if (made) {
        remote_ = *made;
        finish_expose({});
        return;
    }
    failure_ = errc::connection_lost; // all lanes went meanwhile: told after the fence
    perform(ladder_.revoke_asked());
}

void exposure_operation::cancel()
{
    const auto self = shared_from_this();
    failure_ = errc::cancelled;
    perform(ladder_.revoke_asked());
}

void exposure_operation::revoke(const revoke_options* options, revoke_handler handler)
{
    if (ended_ || on_revoked_) {
        const auto error = ended_ ? outcome_ : make_error_code(errc::wrong_state);
        completion::post_handler(std::move(handler), runtime_.executor(), error);
        return;
    }
    on_revoked_.swap(handler);
    if (options != nullptr) {
        options_.revoke = *options;
    }
    if (ladder_.now() == stage::open) {
        runtime_.poller().timers().start(timer_, runtime_.time().now()); // it may be over at once
    }
}

void exposure_operation::abandon() noexcept
{
    if (ended_ || on_revoked_ || ladder_.now() != stage::open) {
        return;
    }
    const auto self = shared_from_this();
    abandoned_ = true;
    if (owned_) {
        perform(ladder_.revoke_asked());
    } else if (windows_) {
        perform(ladder_.abandoned());
    } else { // a registration can be taken back without anybody's help, and is good on other lanes as well
        (void)ladder_.revoke_asked();
        perform(ladder_.time_passed());
    }
}

void exposure_operation::released()
{
    const auto self = shared_from_this();
    perform(ladder_.released());
}

void exposure_operation::connection_gone() noexcept
{
    connection_ = nullptr;
}

void exposure_operation::lane_lost(std::size_t index, error_code why)
{
    if (windows_) {
        const auto self = shared_from_this();
        if (!failure_.failed()) {
            failure_ = why;
        }
        unposted_.reset(index);
        perform(ladder_.lane_lost(index));
    }
}

void exposure_operation::lane_fenced(std::size_t index)
{
    if (windows_) {
        const auto self = shared_from_this();
        perform(ladder_.lane_fenced(index));
    }
}

void exposure_operation::perform(revocation::step step)
{
    if (!ended_) {
        start_timer();
    }
    switch (step.what) {
    case revocation::action::none: return;
    case revocation::action::announce: announce(); return;
    case revocation::action::ask_peer: ask_peer(); return;
    case revocation::action::invalidate:
        for (std::size_t index = 0; index != step.which.size(); ++index) {
            if (step.which[index]) {
                invalidate(index);
            }
        }
        return;
    case revocation::action::fail_lanes:
        unposted_ &= ~step.which;
        for (std::size_t index = 0; index != step.which.size(); ++index) {
            if (auto* const lane = step.which[index] ? live_lane(index) : nullptr; lane != nullptr) {
                lane->fail(abandoned_ ? errc::cancelled : errc::timed_out);
            }
        }
        return;
    case revocation::action::complete: finish({}); return;
    case revocation::action::quarantine: finish(errc::fence_failed); return;
    }
}

void exposure_operation::ask_peer()
{
    const auto error = connection_ == nullptr
        ? make_error_code(errc::connection_lost)
        : exposure_ledger::of(*connection_).send(connection::control_kind::revoke, id_);
    unasked_ = error == errc::send_queue_full;
    if (unasked_) {
        later();
    } else if (error.failed()) {
        perform(ladder_.time_passed()); // nobody is there to be asked
    }
}

void exposure_operation::invalidate(std::size_t index)
{
    if (!windows_) {
        invalidated(index, handles_[index].region->deregister());
        return;
    }
    auto* const lane = live_lane(index);
    if (lane == nullptr) {
        perform(ladder_.lane_lost(index));
        return;
    }
    fabric::send_request request;
    request.operation = fabric::opcode::local_invalidate;
    request.invalidate_key = handles_[index].window->key();
    auto done = [self = shared_from_this(), index](error_code error) { self->invalidated(index, error); };
    const auto error = submit(*lane, {&request, 1}, done);
    if (error == errc::send_queue_full) {
        unposted_.set(index);
        later();
    } else if (error.failed()) {
        perform(ladder_.invalidate_failed(index));
    }
}

void exposure_operation::invalidated(std::size_t index, error_code error)
{
    const auto self = shared_from_this();
    if (windows_ && !error.failed()) {
        handles_[index].on->release_window(handles_[index].window); // a lane outlives its completions
    }
    perform(error.failed() ? ladder_.invalidate_failed(index) : ladder_.invalidated(index));
}

connection::lane* exposure_operation::live_lane(std::size_t index) noexcept
{
    auto* const lane = windows_ && connection_ != nullptr ? connection_->lane_at(index) : nullptr;
    return lane == handles_[index].on ? lane : nullptr;
}

void exposure_operation::later() noexcept
{
    runtime_.poller().timers().start(again_, saturating_add(runtime_.time().now(), again_interval));
}

void exposure_operation::try_again()
{
    const auto self = shared_from_this();
    if (std::exchange(unasked_, false) && ladder_.now() == stage::asking) {
        ask_peer();
    }
    const auto which = std::exchange(unposted_, {});
    for (std::size_t index = 0; index != which.size(); ++index) {
        if (which[index]) {
            invalidate(index);
        }
    }
}

void exposure_operation::start_timer() noexcept
{
    if (std::exchange(timed_, ladder_.now()) == ladder_.now()) {
        return;
    }
    timer_.stop();
    const auto now = runtime_.time().now();
    auto due = time_point_never;
    switch (timed_) {
    case stage::open: due = options_.expires; break;
    case stage::asking: due = saturating_add(now, options_.revoke.revoke_grace); break;
    case stage::invalidating: due = saturating_add(now, options_.revoke.invalidate_limit); break;
    case stage::fencing: due = owned_ ? saturating_add(now, options_.revoke.fence_limit) : time_point_never; break;
    case stage::binding:
    case stage::ended: break;
    }
    if (due != time_point_never) {
        runtime_.poller().timers().start(timer_, due);
    }
}

void exposure_operation::time_passed()
{
    const auto self = shared_from_this();
    switch (ladder_.now()) {
    case stage::binding:
        for (std::size_t index = 0; index != handles_.size(); ++index) {
            if (handles_[index].region) {
                bound(index, {});
            }
        }
        return;
    case stage::open: perform(ladder_.revoke_asked()); return;
    default: perform(ladder_.time_passed()); return;
    }
}

void exposure_operation::finish(error_code why)
{
    const auto self = shared_from_this();
    ended_ = true;
    outcome_ = why;
    timer_.stop();
    again_.stop();
    unlink();
    if (connection_ != nullptr) {
        exposure_ledger::of(*connection_).remove(id_);
    }
    if (why.failed() && owned_) {
        runtime_.pool().quarantine(std::move(owned_));
    }
    runtime_.drop(this);
    runtime_.poller().release_hold();
    if (on_exposed_) {
        finish_expose(why.failed() ? why : failure_);
    } else if (on_revoked_) {
        revoke_handler handler;
        handler.swap(on_revoked_);
        completion::call_handler(std::move(handler), runtime_.executor(), why);
    }
}

void exposure_operation::finish_expose(error_code why)
{
    expose_handler handler;
    handler.swap(on_exposed_);
    if (auto slot = boost::asio::get_associated_cancellation_slot(handler); slot.is_connected()) {
        slot.clear();
    }
    completion::call_handler(std::move(handler), runtime_.executor(), why, exposure(shared_from_this()));
}

} // namespace penstock::transfer
