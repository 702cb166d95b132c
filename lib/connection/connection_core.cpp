#include "connection_core.hpp"

#include <penstock/completion/handler.hpp>

#include <algorithm>

namespace penstock::connection {
namespace {

bool all_have_windows(const connection_core::lanes& data)
{
    return std::all_of(data.begin(), data.end(), [](const auto& each) { return each->device().windows; });
}

} // namespace

connection_core::connection_core(
    runtime& rt, connection_properties agreed, std::shared_ptr<lane> control, lanes data, const liveness_options& alive)
    : runtime_(rt)
    , properties_(std::move(agreed))
    , alive_options_(alive)
    , control_(std::move(control))
    , places_(data.size())
    , arrivals_(rt)
    , tell_([this] { tell_next(); })
    , heartbeat_([this] { heartbeat(); })
    , give_up_([this] { end(errc::connection_lost); })
    , close_limit_([this] {
        close_result_ = errc::timed_out;
        end(errc::connection_closed);
    })
    , close_step_([this] { step_close(); })
{
    properties_.memory_windows = all_have_windows(data);
    watch_control();
    for (std::size_t index = 0; index != places_.size(); ++index) {
        places_[index].current = std::move(data[index]);
        places_[index].up = true;
        watch_lane(index);
    }
    if (alive_options_.keep_running) {
        runtime_.poller().hold();
    }
}

connection_core::~connection_core()
{
    if (alive_options_.keep_running && !over_.failed()) {
        runtime_.poller().release_hold();
    }
}

void connection_core::attach(connection& front)
{
    front_ = &front;
    for (std::size_t index = 0; index != places_.size(); ++index) {
        front.live_[index] = places_[index].current.get();
    }
    front.first_ = places_.front().current;
}

error_code connection_core::lost() const noexcept
{
    return over_.failed() || !closing_ ? over_ : make_error_code(errc::connection_closed);
}

void connection_core::watch_lane(std::size_t index)
{
    auto& watched = *places_[index].current;
    arrivals_.drop_orphans();
    watched.deliver_to(&arrivals_);
    watched.on_down([this, index](error_code why) { lane_died(index, why); });
}

void connection_core::on_message(lane::message_handler handler)
{
    message_ = std::move(handler);
    for (const auto& each : places_) {
        if (each.current) {
            each.current->on_message(message_);
        }
    }
}

void connection_core::on_down(lane::down_handler handler)
{
    down_ = std::move(handler);
    if (down_waits_ && down_) {
        down_waits_ = false;
        tell({news::kind::down, 0, over_});
    }
}

bool connection_core::any_up() const noexcept
{
    return std::any_of(places_.begin(), places_.end(), [](const place& one) { return one.up; });
}

void connection_core::lane_died(std::size_t index, error_code why)
{
    if (!properties_.recovers || closing_) {
        take_out(index, why);
        end(why);
        return;
    }
    const bool was_up = places_[index].up;
    take_out(index, why);
    if (healer_ && was_up) {
        healer_->lane_lost(index, why);
    } else if (granting_ && !any_up() && !give_up_.running()) {
        runtime_.poller().timers().start(give_up_, saturating_add(runtime_.time().now(), granting_->give_up_after));
    }
}

void connection_core::control_lost(error_code why)
{
    if (!healer_ || closing_) {
        end(why);
        return;
    }
    heartbeat_.stop();
    runtime_.retire(std::move(control_));
    for (std::size_t index = 0; index != places_.size(); ++index) {
        const bool was_up = places_[index].up;
        take_out(index, why);
        if (was_up) {
            healer_->lane_lost(index, why);
        }
    }
    healer_->control_lost(why);
}

void connection_core::take_out(std::size_t index, error_code why)
{
    place& one = places_[index];
    if (!one.current) {
        return;
    }
    if (front_ != nullptr) {
        front_->live_[index] = nullptr;
    }
    ++fencing_;
    one.fencing = true;
    const bool was_up = std::exchange(one.up, false);
    if (was_up) {
        tell({news::kind::lane_lost, index, why});
    }
    runtime_.retire(
        std::move(one.current), [self = shared_from_this(), index, was_up] { self->fenced(index, was_up); });
}

void connection_core::fenced(std::size_t index, bool was_up)
{
    --fencing_;
    places_[index].fencing = false;
    if (was_up) {
        tell({news::kind::lane_fenced, index, {}});
    }
    if (over_.failed()) {
        check_fenced();
        return;
    }
    if (healer_ && was_up) {
        healer_->lane_fenced(index);
    }
    if (places_[index].wanted) {
        grant(index);
    }
}

void connection_core::check_fenced()
{
    if (over_.failed() && fencing_ == 0) {
        tell({news::kind::closed, 0, over_});
    }
}

// Nobody is told anything any more. What was to be told may own the connection, and so this: that circle ends here.
void connection_core::abandon() noexcept
{
    abandoned_ = true;
    tell_.stop();
    if (!news_.empty()) {
        news_.clear();
        runtime_.poller().release_hold();
    }
    const auto calls = std::exchange(when_fenced_, {});
    boost::asio::any_completion_handler<void(error_code)> handler;
    handler.swap(closing_);
}

void connection_core::join(std::size_t index, std::shared_ptr<lane> opened)
{
    place& one = places_[index];
    one.current = std::move(opened);
    one.secret.reset();
    one.current->on_message(message_);
    watch_lane(index);
}

void connection_core::mark_up(std::size_t index)
{
    place& one = places_[index];
    if (!one.current || one.up) {
        return;
    }
    one.up = true;
    give_up_.stop();
    if (front_ != nullptr && !closing_) {
        front_->live_[index] = one.current.get();
    }
    tell({news::kind::lane_up, index, {}});
}

void connection_core::remade(dialed made, connection_properties agreed)
{
    properties_ = std::move(agreed);
    properties_.memory_windows = all_have_windows(made.lanes);
    control_ = std::move(made.control);
    watch_control();
    for (std::size_t index = 0; index != places_.size(); ++index) {
        join(index, std::move(made.lanes[index]));
        mark_up(index);
    }
}

void connection_core::end(error_code why)
{
    if (over_.failed()) {
        return;
    }
    const auto self = shared_from_this();
    over_ = why;
    heartbeat_.stop();
    give_up_.stop();
    close_limit_.stop();
    close_step_.stop();
    granting_.reset();
    healer_.reset();
    if (alive_options_.keep_running) {
        runtime_.poller().release_hold();
    }
    for (std::size_t index = 0; index != places_.size(); ++index) {
        take_out(index, why);
    }
    if (control_) {
        runtime_.retire(std::move(control_));
    }
    arrivals_.end(why);
    tell({news::kind::down, 0, why});
    check_fenced(); // no lane may have been there
}

void connection_core::when_fenced(std::function<void()> call)
{
    when_fenced_.push_back(std::move(call));
    if (closed_told_) {
        tell({news::kind::closed, 0, over_});
    }
}

void connection_core::close(std::function<void()> fenced)
{
    down_ = nullptr;
    if (fenced) {
        when_fenced(std::move(fenced));
    }
    end(errc::connection_closed);
}

// Told one at a time, each from a turn of its own: what is told may do anything, and throw.
void connection_core::tell(const news& what)
{
    if (abandoned_) {
        return;
    }
    if (news_.empty()) {
        runtime_.poller().hold();
        auto bond = std::make_shared<tie>(shared_from_this());
        telling_ = bond.get();
        runtime_.keep(std::move(bond));
        runtime_.poller().timers().start(tell_, runtime_.time().now());
    }
    news_.push_back(what);
}

void connection_core::tell_next()
{
    const auto self = shared_from_this();
    const news what = news_.front();
    news_.erase(news_.begin());
    if (news_.empty()) {
        telling_->done = true;
        runtime_.drop(std::exchange(telling_, nullptr));
        runtime_.poller().release_hold();
    } else {
        runtime_.poller().timers().start(tell_, runtime_.time().now());
    }
    switch (what.what) {
    case news::kind::down: tell_down(what.why); return;
    case news::kind::closed: tell_closed(what); return;
    default: tell_observers(what); return;
    }
}

void connection_core::tell_observers(const news& what)
{
    // Each goes back to the list before it is called: whoever goes away meanwhile leaves either list by itself.
    observer_list waiting;
    waiting.swap(observers_);
    while (!waiting.empty()) {
        lane_observer& next = waiting.front();
        waiting.pop_front();
        observers_.push_back(next);
        switch (what.what) {
        case news::kind::lane_up: next.lane_up(what.lane); break;
        case news::kind::lane_lost: next.lane_lost(what.lane, what.why); break;
        case news::kind::lane_fenced: next.lane_fenced(what.lane); break;
        default: next.closed(what.why); break;
        }
    }
}

void connection_core::tell_down(error_code why)
{
    if (auto call = std::exchange(down_, nullptr)) {
        call(why); // may destroy the connection
    } else {
        down_waits_ = true;
    }
}

void connection_core::tell_closed(const news& what)
{
    if (!std::exchange(closed_told_, true)) {
        tell_observers(what);
    }
    const auto calls = std::exchange(when_fenced_, {});
    for (const auto& call : calls) {
        call();
    }
    if (closing_) {
        boost::asio::any_completion_handler<void(error_code)> handler;
        handler.swap(closing_);
        completion::call_handler(std::move(handler), runtime_.executor(), close_result_);
    }
}

} // namespace penstock::connection
