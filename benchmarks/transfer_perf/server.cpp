// Exposes its data to every connection: answers the first message with where it is, and each other with one of the same length.

#include "options.hpp"

#include <penstock/connection/acceptor.hpp>
#include <penstock/core/random.hpp>
#include <penstock/transfer/transfer.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <list>
#include <memory>
#include <utility>
#include <vector>

namespace transfer_perf {
namespace {

namespace asio = boost::asio;
namespace fabric = penstock::fabric;

/// One connection. It holds the poller: over tcp a target answers only while it is polled.
class session {
public:
    session(penstock::runtime& rt, std::unique_ptr<penstock::connection::connection> made, std::span<std::byte> data)
        : runtime_(rt)
        , region_(made->data()
                      .device()
                      .domain
                      ->register_memory(data,
                          fabric::access::local_write | fabric::access::remote_read | fabric::access::remote_write)
                      .value())
        , connection_(std::move(made))
    {
        connection_->on_message([this, data](std::span<const std::byte> message) {
            if (!std::exchange(granted_, true)) {
                const grant what{reinterpret_cast<std::uintptr_t>(data.data()), data.size(), region_->rkey()};
                send(std::as_bytes(std::span(&what, 1)));
            } else {
                send(message);
            }
        });
        runtime_.poller().hold();
    }
    session(const session&) = delete;
    session& operator=(const session&) = delete;
    ~session() { runtime_.poller().release_hold(); }

    penstock::connection::connection& on() { return *connection_; }

private:
    void send(std::span<const std::byte> message)
    {
        auto& lane = connection_->data();
        const auto slot = lane.acquire_message().value();
        std::memcpy(slot.bytes.data(), message.data(), message.size());
        penstock::transfer::async_send(
            lane, slot.segment(message.size()), [&lane, slot](penstock::error_code) { lane.release_message(slot); });
    }

    penstock::runtime& runtime_;
    std::unique_ptr<fabric::memory_region> region_;
    std::unique_ptr<penstock::connection::connection> connection_;
    bool granted_ = false;
};

} // namespace

void serve(const options& with)
{
    asio::io_context io(1);
    asio::signal_set signals(io, SIGINT, SIGTERM);
    signals.async_wait([&io](const auto&, int) { io.stop(); });

    std::vector<std::byte> data(std::max(with.data, with.size));
    penstock::system_random_source().fill(data);
    // A target of one-sided operations by verbs has nothing to poll, and leaves its processor to the device.
    penstock::runtime rt(io.get_executor(), spinning(with, std::chrono::milliseconds(100)));
    std::list<session> sessions;
    penstock::connection::acceptor_options listen;
    listen.listen = with.where;
    listen.transport = with.transport;
    listen.messages = messages;
    const penstock::connection::acceptor acceptor(rt, listen, [&](auto made) {
        const auto one = sessions.emplace(sessions.end(), rt, std::move(made), data);
        one->on().on_down([&, one](const penstock::error_code&) { asio::post(io, [&, one] { sessions.erase(one); }); });
    });
    std::printf("{\"event\":\"ready\",\"port\":%u}\n", unsigned{acceptor.local_endpoint().port()});
    std::fflush(stdout);
    io.run();
    sessions.clear();
}

} // namespace transfer_perf
