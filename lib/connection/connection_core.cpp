#include "connection_core.hpp"

#include "message.hpp"

namespace penstock::connection {

connection_core::connection_core(runtime& rt, connection_properties agreed, std::shared_ptr<lane> control, lanes data)
    : runtime_(rt)
    , properties_(std::move(agreed))
    , control_(std::move(control))
    , lanes_(std::move(data))
    , tell_([this] { tell_next(); })
{
    watch_control();
    for (std::size_t index = 0; index != lanes_.size(); ++index) {
        watch_lane(index);
    }
}

connection_core::~connection_core()
{
    if (!news_.empty()) {
        runtime_.poller().release_hold(); // the runtime ends before everybody was told
    }
}

void connection_core::attach(connection& front)
{
    front_ = &front;
    for (std::size_t index = 0; index != lanes_.size(); ++index) {
        front.live_[index] = lanes_[index].get();
    }
    front.first_ = lanes_.front();
}

void connection_core::watch_control()
{
    control_->on_down([this](error_code why) { end(why); });
    control_->on_message([this](std::span<const std::byte> message) { control_message(message); });
}

void connection_core::watch_lane(std::size_t index)
{
    lanes_[index]->on_down([this, index](error_code why) {
        take_out(index, why);
        end(why);
    });
}

void connection_core::on_message(lane::message_handler handler)
{
    message_ = std::move(handler);
    for (const auto& each : lanes_) {
        if (each) {
            each->on_message(message_);
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

void connection_core::on_control(control_kind kind, std::function<void(std::span<const std::byte>)> handler)
{
    control_handlers_[static_cast<std::size_t>(kind)] = std::move(handler);
}

error_code connection_core::send_control(control_kind kind, std::span<const std::byte> payload)
{
    if (payload.size() > control_payload_max) {
        return errc::invalid_argument;
    }
    if (!control_ || control_->failed()) {
        return errc::connection_lost;
    }
    return send_message(*control_, control_note{kind, payload});
}

void connection_core::control_message(std::span<const std::byte> message)
{
    const auto decoded = decode_control(message);
    if (!decoded) {
        control_->fail(decoded.error());
        return;
    }
    if (decoded->type != control_type::revoke && decoded->type != control_type::released) {
        control_->fail(errc::unexpected_message);
        return;
    }
    // A copy: it may replace itself, or close the connection.
    if (const auto call = control_handlers_[static_cast<std::size_t>(decoded->note.kind)]) {
        const auto self = shared_from_this();
        call(decoded->note.payload);
    }
}

void connection_core::take_out(std::size_t index, error_code why)
{
    if (!lanes_[index]) {
        return;
    }
    if (front_ != nullptr) {
        front_->live_[index] = nullptr;
    }
    ++fencing_;
    tell({news::kind::lane_lost, index, why});
    runtime_.retire(std::move(lanes_[index]), [self = shared_from_this(), index] { self->fenced(index); });
}

void connection_core::fenced(std::size_t index)
{
    --fencing_;
    tell({news::kind::lane_fenced, index, {}});
    if (over_.failed() && fencing_ == 0) {
        tell({news::kind::closed, 0, over_});
    }
}

void connection_core::end(error_code why)
{
    if (over_.failed()) {
        return;
    }
    over_ = why;
    for (std::size_t index = 0; index != lanes_.size(); ++index) {
        take_out(index, why);
    }
    if (control_) {
        runtime_.retire(std::move(control_));
    }
    tell({news::kind::down, 0, why});
}

void connection_core::close(std::function<void()> fenced)
{
    down_ = nullptr;
    fenced_ = std::move(fenced);
    if (!over_.failed()) {
        end(errc::connection_closed);
    } else if (closed_told_ && fenced_) {
        tell({news::kind::closed, 0, over_});
    }
}

// Told one at a time, each from a turn of its own: what is told may do anything, and throw.
void connection_core::tell(const news& what)
{
    if (news_.empty()) {
        runtime_.poller().hold();
        runtime_.keep(shared_from_this());
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
        runtime_.drop(this);
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
    const auto call = std::exchange(fenced_, nullptr);
    if (!std::exchange(closed_told_, true)) {
        tell_observers(what);
    }
    if (call) {
        call();
    }
}

} // namespace penstock::connection
