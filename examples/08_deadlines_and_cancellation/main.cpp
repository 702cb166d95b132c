// 08_deadlines_and_cancellation [auto|verbs|tcp [ADDRESS]]
//
// Nothing waits for ever: deadlines and cancellation, and what is true of the memory when they strike. See README.md.

#include <penstock/connection/acceptor.hpp>
#include <penstock/connection/connection.hpp>
#include <penstock/core/byte_size.hpp>
#include <penstock/transfer/exposure.hpp>
#include <penstock/transfer/message.hpp>
#include <penstock/transfer/remote_access.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <exception>
#include <memory>
#include <span>
#include <stdexcept>

namespace asio = boost::asio;
namespace transfer = penstock::transfer;
using asio::awaitable;
using asio::use_awaitable;
using namespace asio::experimental::awaitable_operators;
using namespace penstock::literals;
using namespace std::chrono_literals;
using connection_ptr = std::unique_ptr<penstock::connection::connection>;

namespace {

constexpr penstock::connection::message_limits messages{256, 256}; // both sides state the same
constexpr auto as_value = asio::as_tuple(use_awaitable);
constexpr std::array hello{std::byte{1}};

void expect(bool condition, const char* what)
{
    std::printf("%s: %s\n", condition ? "yes" : "NO", what);
    if (!condition) {
        throw std::runtime_error(what);
    }
}

/// Exposes some memory, and takes it back when the other side has left.
awaitable<void> owner(penstock::runtime& rt, connection_ptr peer)
{
    const auto buffer = rt.pool().acquire(64_KiB).value();
    (void)co_await transfer::async_receive(*peer, use_awaitable);
    auto exposed
        = co_await transfer::async_expose(*peer, buffer.slice(), penstock::fabric::access::remote_read, use_awaitable);
    std::array<std::byte, transfer::remote_buffer::encoded_bytes_max> text{};
    const auto length = exposed.remote().encode(text);
    co_await transfer::async_send(*peer, std::span(text).first(length), use_awaitable);
    (void)co_await transfer::async_receive(*peer, as_value);
    // The peer is gone. The revocation waits until its lane is destroyed: then nobody can touch the buffer.
    co_await exposed.async_revoke(use_awaitable);
}

awaitable<void> lesson(
    penstock::runtime& rt, penstock::fabric::endpoint where, const penstock::connection::connect_options& options)
{
    const auto peer = co_await penstock::connection::async_connect(rt, where, options, use_awaitable);
    co_await transfer::async_send(*peer, hello, use_awaitable);
    const auto text = co_await transfer::async_receive(*peer, use_awaitable);
    const auto remote = transfer::remote_buffer::decode(text.bytes()).value();
    const auto buffer = rt.pool().acquire(64_KiB).value();

    // A deadline on the runtime's clock. Over before it began: nothing was sent, and the connection is as it was.
    transfer::operation_options late;
    late.deadline = rt.time().now();
    auto [timed_out] = co_await transfer::async_read(*peer, buffer.slice(), remote, late, as_value);
    expect(timed_out == penstock::errc::timed_out, "a deadline that has passed is timed_out");

    // A deadline that is kept: the usual case.
    transfer::operation_options soon;
    soon.deadline = rt.time().now() + 5s;
    auto [in_time] = co_await transfer::async_read(*peer, buffer.slice(), remote, soon, as_value);
    expect(!in_time.failed(), "the read made its deadline");

    // Cancellation by a slot, of a read that is on its way. It completes once: as cancelled, or as done if it was faster. Until
    // then the buffer is the lane's; after it nobody touches it any more, whatever the answer.
    asio::cancellation_signal stop;
    penstock::error_code told;
    bool ended = false;
    transfer::async_read(*peer, buffer.slice(), remote, asio::bind_cancellation_slot(stop.slot(), [&](auto error) {
        told = error;
        ended = true;
    }));
    stop.emit(asio::cancellation_type::terminal);
    asio::steady_timer clock(rt.executor());
    while (!ended) {
        clock.expires_after(1ms);
        co_await clock.async_wait(use_awaitable);
    }
    expect(!told.failed() || told == penstock::errc::cancelled, "the cancelled read ended once");

    // Whoever comes first: a message that never comes, or the clock. The loser is cancelled.
    clock.expires_after(20ms);
    const auto first = co_await (transfer::async_receive(*peer, use_awaitable) || clock.async_wait(use_awaitable));
    expect(first.index() == 1, "waiting for a message ended with the clock");
}

} // namespace

int main(int count, char** values)
try {
    asio::io_context io(1);
    penstock::runtime_options options;
    options.transport = penstock::parse_transport_choice(count > 1 ? values[1] : "tcp").value();
    penstock::runtime rt(io.get_executor(), options);

    int running = 2;
    const auto ended = [&](std::exception_ptr thrown) {
        if (thrown) {
            std::rethrow_exception(thrown);
        }
        if (--running == 0) {
            io.stop();
        }
    };
    penstock::connection::acceptor_options listen;
    listen.listen = {asio::ip::make_address(count > 2 ? values[2] : "127.0.0.1"), 0};
    listen.transport = options.transport;
    listen.messages = messages;
    const penstock::connection::acceptor acceptor(
        rt, listen, [&](connection_ptr peer) { asio::co_spawn(io, owner(rt, std::move(peer)), ended); });
    penstock::connection::connect_options wanted;
    wanted.transport = options.transport;
    wanted.messages = messages;
    asio::co_spawn(io, lesson(rt, acceptor.local_endpoint(), wanted), ended);
    io.run();
    return 0;
} catch (const std::exception& thrown) {
    std::fprintf(stderr, "08_deadlines_and_cancellation: %s\n", thrown.what());
    return 1;
}
