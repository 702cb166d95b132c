#include <penstock/connection/connection.hpp>

#include "connection_core.hpp"

#include <penstock/completion/handler.hpp>

namespace penstock::connection {

connection::connection(std::shared_ptr<connection_core> core)
    : core_(std::move(core))
    , lane_count_(core_->properties().lanes)
{
    core_->attach(*this);
}

connection::~connection()
{
    transfers_.reset();
    close();
    core_->detach();
}

const connection_properties& connection::properties() const noexcept
{
    return core_->properties();
}

runtime& connection::owner() noexcept
{
    return core_->owner();
}

error_code connection::lost() const noexcept
{
    return core_->lost();
}

void connection::add(lane_observer& observer)
{
    core_->add(observer);
}

void connection::remove(lane_observer& observer) noexcept
{
    observer.unlink();
}

error_code connection::send_control(control_kind kind, std::span<const std::byte> payload)
{
    return core_->send_control(kind, payload);
}

void connection::on_control(control_kind kind, std::function<void(std::span<const std::byte>)> handler)
{
    core_->on_control(kind, std::move(handler));
}

void connection::on_message(lane::message_handler handler)
{
    core_->on_message(std::move(handler));
}

inbox& connection::arrivals() noexcept
{
    return core_->arrivals();
}

void connection::on_down(lane::down_handler handler)
{
    core_->on_down(std::move(handler));
}

void connection::close(std::function<void()> fenced)
{
    if (std::exchange(closed_, true)) {
        return;
    }
    core_->close(std::move(fenced));
    if (auto call = std::exchange(on_closed_, nullptr)) {
        call();
    }
}

void connection::start_close(
    std::chrono::milliseconds limit, boost::asio::any_completion_handler<void(error_code)> handler)
{
    if (closed_ || core_->lost().failed()) {
        const auto why
            = closed_ || core_->lost() == errc::connection_closed ? errc::wrong_state : errc::connection_lost;
        completion::post_handler(std::move(handler), owner().executor(), make_error_code(why));
        return;
    }
    core_->close_in_order(limit, std::move(handler));
}

} // namespace penstock::connection
