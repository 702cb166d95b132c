#include <penstock/connection/connection.hpp>

namespace penstock::connection {

connection::connection(
    runtime& rt, connection_properties agreed, std::unique_ptr<lane> control, std::unique_ptr<lane> data)
    : runtime_(rt)
    , properties_(std::move(agreed))
    , control_(std::move(control))
    , data_(std::move(data))
{
    control_->on_down([this](error_code why) { lane_down(why); });
    data_->on_down([this](error_code why) { lane_down(why); });
    control_->on_message([this](std::span<const std::byte>) {
        control_->fail(errc::unexpected_message); // nothing is due after the handshake
    });
}

connection::~connection()
{
    close();
}

void connection::on_down(lane::down_handler handler)
{
    on_down_ = std::move(handler);
    if (lost_.failed() && on_down_ && !late_.running()) {
        late_.set_action([this] {
            runtime_.poller().release_hold();
            lane_down(lost_);
        });
        runtime_.poller().hold(); // until it has been told
        runtime_.poller().timers().start(late_, runtime_.time().now());
    }
}

void connection::lane_down(error_code why)
{
    if (auto call = std::exchange(on_down_, nullptr)) {
        call(why); // may destroy the connection
    } else {
        lost_ = why;
    }
}

void connection::close(std::function<void()> fenced)
{
    on_down_ = nullptr;
    if (late_.running()) {
        late_.stop();
        runtime_.poller().release_hold();
    }
    if (data_) {
        runtime_.retire(std::move(data_), std::move(fenced));
        runtime_.retire(std::move(control_));
    }
    if (auto call = std::exchange(on_closed_, nullptr)) {
        call();
    }
}

} // namespace penstock::connection
