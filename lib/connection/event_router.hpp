#pragma once

// Hands the events of a connection channel to whoever owns the connection or the port.

#include <penstock/completion/poller.hpp>
#include <penstock/fabric/connection.hpp>

#include <cstdint>
#include <functional>
#include <unordered_map>

namespace penstock::connection {

/// Threads: the poller's. The channel must outlive it.
class event_router final : public completion::source {
public:
    using handler = std::function<void(fabric::connection_event&)>;

    explicit event_router(fabric::connection_channel& channel) noexcept
        : channel_(channel)
    {}

    void watch(fabric::connection& about, handler call) { connections_[&about] = std::move(call); }
    void unwatch(const fabric::connection& about) noexcept { connections_.erase(&about); }

    /// Connection requests that arrive at a local port.
    void watch_port(std::uint16_t port, handler call) { ports_[port] = std::move(call); }
    void unwatch_port(std::uint16_t port) noexcept { ports_.erase(port); }

    std::size_t turn() override;
    int descriptor() const noexcept override { return channel_.descriptor(); }
    fabric::connection_channel& channel() noexcept { return channel_; }

private:
    void dispatch(fabric::connection_event& event);

    fabric::connection_channel& channel_;
    std::unordered_map<const fabric::connection*, handler> connections_;
    std::unordered_map<std::uint16_t, handler> ports_;
};

} // namespace penstock::connection
