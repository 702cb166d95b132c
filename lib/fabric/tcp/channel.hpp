#pragma once

// Where connection events are told and handshakes move on.

#include "fabric/tcp/descriptor.hpp"
#include "fabric/tcp/link.hpp"

#include <penstock/core/clock.hpp>
#include <penstock/fabric/connection.hpp>
#include <penstock/fabric/tcp.hpp>

#include <atomic>
#include <deque>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>

namespace penstock::fabric::tcp {

/// What a channel waits for. It registers itself under an identifier of its own, so that an event that was reported
/// for an object destroyed since finds nobody.
class waiter {
public:
    waiter() noexcept;
    waiter(const waiter&) = delete;
    waiter& operator=(const waiter&) = delete;
    virtual ~waiter() = default;

    virtual void on_ready() = 0;
    virtual void on_timeout() {}
    virtual void on_notice(connection_event_type) {}

    std::uint64_t identifier() const noexcept { return identifier_; }

private:
    friend class channel;
    std::uint64_t identifier_;
    time_point deadline_ = time_point_never;
};

class channel final : public connection_channel {
public:
    static result<std::unique_ptr<connection_channel>> create(const tcp_options& options);
    channel(const tcp_options& options, unique_descriptor epoll, unique_descriptor timer,
        std::shared_ptr<channel_inbox> inbox);
    ~channel() override = default;

    result<std::unique_ptr<fabric::listener>> listen(const endpoint& local, const listen_options& options) override;
    result<std::unique_ptr<fabric::connection>> resolve(
        const endpoint& remote, const resolve_options& options) override;
    std::size_t poll(std::span<connection_event> out) override;
    int descriptor() const noexcept override { return epoll_.get(); }

    // For listeners, handshakes and connections.

    const tcp_options& options() const noexcept { return options_; }
    clock& time() const noexcept { return *options_.time; }
    const std::shared_ptr<channel_inbox>& inbox() const noexcept { return inbox_; }
    error_code enter(waiter& who, int descriptor, std::uint32_t events);
    void change(waiter& who, int descriptor, std::uint32_t events) noexcept;
    /// Stops waiting for the descriptor; notices still find `who`.
    void ignore(int descriptor) noexcept { unwatch(epoll_.get(), descriptor); }
    void leave(waiter& who, int descriptor) noexcept;
    void set_deadline(waiter& who, time_point when);
    void tell(connection_event event);
    /// Drops the events that name it.
    void forget(const fabric::connection* source) noexcept;
    /// Drops the connect requests of a listener.
    void forget_requests_of(std::uint64_t listener) noexcept;

private:
    void progress();
    void take_notices();
    void run_timeouts();

    tcp_options options_;
    unique_descriptor epoll_;
    unique_descriptor timer_;
    std::shared_ptr<channel_inbox> inbox_;
    std::unordered_map<std::uint64_t, waiter*> waiters_;
    std::set<std::pair<time_point, std::uint64_t>> deadlines_;
    time_point timer_at_ = time_point_never;
    std::deque<connection_event> events_;
};

} // namespace penstock::fabric::tcp
