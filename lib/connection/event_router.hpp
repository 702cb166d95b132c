#pragma once

// Hands the events of a connection channel to whoever owns the connection or the port.

#include <penstock/completion/poller.hpp>
#include <penstock/fabric/connection.hpp>

#include <functional>
#include <map>
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

    /// Connection requests that arrive at a local address and port, or, with an unspecified address, at any that nobody else
    /// watches.
    void watch_endpoint(const fabric::endpoint& local, handler call) { endpoints_[local] = std::move(call); }
    void unwatch_endpoint(const fabric::endpoint& local) noexcept { endpoints_.erase(local); }

    std::size_t turn() override;
    int descriptor() const noexcept override { return channel_.descriptor(); }
    fabric::connection_channel& channel() noexcept { return channel_; }

private:
    void dispatch(fabric::connection_event& event);
    handler listening_at(const fabric::endpoint& local) const;

    fabric::connection_channel& channel_;
    std::unordered_map<const fabric::connection*, handler> connections_;
    std::map<fabric::endpoint, handler> endpoints_;
};

} // namespace penstock::connection
