// 07_own_io_context [auto|verbs|tcp [ADDRESS]]
//
// The loop is the program's: a timer, a socket and Penstock share one thread, none starves, and it ends by itself. See README.md.

#include <penstock/connection/acceptor.hpp>
#include <penstock/connection/connection.hpp>
#include <penstock/transfer/message.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>

namespace asio = boost::asio;
namespace transfer = penstock::transfer;
using asio::awaitable;
using asio::use_awaitable;
using namespace asio::experimental::awaitable_operators;
using connection_ptr = std::unique_ptr<penstock::connection::connection>;

namespace {

constexpr int messages = 1'000;
constexpr int words = 200;

/// What the program does besides: a clock that ticks, and two who talk over a pair of sockets.
struct other_work {
    explicit other_work(asio::io_context& io)
        : clock(io)
        , left(io)
        , right(io)
    {
        asio::local::connect_pair(left, right);
    }

    awaitable<void> tick()
    {
        for (; !done; ++ticks) {
            clock.expires_after(std::chrono::milliseconds(1));
            co_await clock.async_wait(use_awaitable);
        }
    }

    static awaitable<void> talk(asio::local::stream_protocol::socket& own, bool first)
    {
        std::array<char, 6> word{"hello"};
        for (int turn = first ? 0 : 1; turn != 2 * words + (first ? 0 : 1); ++turn) {
            if (turn % 2 == 0) {
                co_await asio::async_write(own, asio::buffer(word), use_awaitable);
            } else {
                co_await asio::async_read(own, asio::buffer(word), use_awaitable);
            }
        }
    }

    asio::steady_timer clock;
    asio::local::stream_protocol::socket left;
    asio::local::stream_protocol::socket right;
    int ticks = 0;
    bool done = false;
};

awaitable<void> echo(connection_ptr peer)
{
    for (;;) {
        auto [error, message] = co_await transfer::async_receive(*peer, asio::as_tuple(use_awaitable));
        if (error.failed()) {
            co_return; // it has left
        }
        co_await transfer::async_send(*peer, message.bytes(), use_awaitable);
    }
}

awaitable<void> ask(penstock::connection::connection& peer)
{
    constexpr std::array question{std::byte{1}, std::byte{2}};
    for (int count = 0; count != messages; ++count) {
        co_await transfer::async_send(peer, question, use_awaitable);
        (void)co_await transfer::async_receive(peer, use_awaitable);
    }
}

awaitable<void> everything(penstock::runtime& rt, std::optional<penstock::connection::acceptor>& acceptor,
    const penstock::connection::connect_options& options, other_work& other)
{
    const auto where = acceptor->local_endpoint();
    const auto peer = co_await penstock::connection::async_connect(rt, where, options, use_awaitable);
    co_await (ask(*peer) && other_work::talk(other.left, true) && other_work::talk(other.right, false));
    other.done = true;
    acceptor.reset(); // nobody listens, nothing is outstanding: the loop has nothing to wait for
}

} // namespace

int main(int count, char** values)
try {
    asio::io_context io(1);
    penstock::runtime_options options;
    options.transport = penstock::parse_transport_choice(count > 1 ? values[1] : "tcp").value();
    // While nothing comes it spins for so long, and gives the loop a turn now and then; after that it sleeps in the loop.
    options.polling.spin = std::chrono::microseconds(20);
    penstock::runtime rt(io.get_executor(), options);

    const auto rethrow = [](std::exception_ptr thrown) {
        if (thrown) {
            std::rethrow_exception(thrown);
        }
    };
    penstock::connection::acceptor_options listen;
    listen.listen = {asio::ip::make_address(count > 2 ? values[2] : "127.0.0.1"), 0};
    listen.transport = options.transport;
    std::optional<penstock::connection::acceptor> acceptor;
    acceptor.emplace(rt, listen, [&](connection_ptr peer) { asio::co_spawn(io, echo(std::move(peer)), rethrow); });
    penstock::connection::connect_options wanted;
    wanted.transport = options.transport;
    other_work other(io);
    asio::co_spawn(io, everything(rt, acceptor, wanted, other), rethrow);
    asio::co_spawn(io, other.tick(), rethrow);
    io.run(); // nobody stops it

    std::printf("%d messages and %d words both ways, %d ticks, one thread\n", messages, words, other.ticks);
    return other.done && other.ticks > 0 ? 0 : 1;
} catch (const std::exception& thrown) {
    std::fprintf(stderr, "07_own_io_context: %s\n", thrown.what());
    return 1;
}
