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
}

void connection::lane_down(error_code why)
{
    if (auto call = std::exchange(on_down_, nullptr)) {
        call(why);
    }
}

void connection::close(std::function<void()> fenced)
{
    on_down_ = nullptr;
    if (data_) {
        runtime_.retire(std::move(data_), std::move(fenced));
        runtime_.retire(std::move(control_));
    }
    if (auto call = std::exchange(on_closed_, nullptr)) {
        call();
    }
}

} // namespace penstock::connection
