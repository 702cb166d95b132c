// 04_read [auto|verbs|tcp [ADDRESS]]
//
// One side lets the other read its memory: a table, whose rows the other fetches as it needs them. See README.md.

#include <penstock/connection/acceptor.hpp>
#include <penstock/connection/connection.hpp>
#include <penstock/transfer/exposure.hpp>
#include <penstock/transfer/message.hpp>
#include <penstock/transfer/remote_access.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>

namespace asio = boost::asio;
namespace transfer = penstock::transfer;
using asio::awaitable;
using asio::use_awaitable;
using connection_ptr = std::unique_ptr<penstock::connection::connection>;
using namespace asio::experimental::awaitable_operators;

namespace {

constexpr penstock::connection::message_limits messages{256, 256}; // both sides state the same
constexpr std::size_t rows = 10'000;
constexpr std::size_t wanted = 200; // rows read at once
constexpr std::array hello{std::byte{1}};
constexpr std::array bye{std::byte{2}};

struct row {
    std::uint64_t number;
    std::uint64_t square;
};

/// Owns the table. While it is read none of this code runs.
awaitable<bool> owner(penstock::runtime& rt, connection_ptr peer)
{
    const auto buffer = rt.pool().acquire(rows * sizeof(row)).value();
    for (std::uint64_t number = 0; number != rows; ++number) {
        const row one{number, number * number};
        std::memcpy(buffer.data() + number * sizeof one, &one, sizeof one);
    }
    (void)co_await transfer::async_receive(*peer, use_awaitable);
    auto exposed
        = co_await transfer::async_expose(*peer, buffer.slice(), penstock::fabric::access::remote_read, use_awaitable);
    std::array<std::byte, transfer::remote_buffer::encoded_bytes_max> text{};
    const auto length = exposed.remote().encode(text);
    co_await transfer::async_send(*peer, std::span(text).first(length), use_awaitable);
    (void)co_await transfer::async_receive(*peer, use_awaitable); // the reader is done
    co_await exposed.async_revoke(use_awaitable);
    co_await transfer::async_send(*peer, bye, use_awaitable);
    co_return true;
}

awaitable<bool> reader(penstock::runtime& rt, penstock::fabric::endpoint where, penstock::transport_choice transport)
{
    penstock::connection::connect_options options;
    options.transport = transport;
    options.messages = messages;
    const auto peer = co_await penstock::connection::async_connect(rt, where, options, use_awaitable);
    co_await transfer::async_send(*peer, hello, use_awaitable);
    const auto text = co_await transfer::async_receive(*peer, use_awaitable);
    const auto table = transfer::remote_buffer::decode(text.bytes()).value();

    // Two reads on their way at once, into two parts of one buffer. A completion means that the bytes are here.
    const auto buffer = rt.pool().acquire(2 * wanted * sizeof(row)).value();
    const std::size_t bytes = wanted * sizeof(row);
    const auto from = [&](std::size_t first) { return table.slice(first * sizeof(row), bytes); };
    co_await (transfer::async_read(*peer, buffer.slice(0, bytes), from(1'000), use_awaitable)
        && transfer::async_read(*peer, buffer.slice(bytes, bytes), from(9'000), use_awaitable));

    bool good = true;
    for (std::size_t at = 0; at != 2 * wanted; ++at) {
        row one{};
        std::memcpy(&one, buffer.data() + at * sizeof one, sizeof one);
        const auto expected = at < wanted ? 1'000 + at : 9'000 + at - wanted;
        good = good && one.number == expected && one.square == expected * expected;
    }

    // What lies beyond was not exposed. Here it is refused before anything is sent; the device at the other side would too.
    bool refused = false;
    try {
        (void)from(rows - 1);
    } catch (const std::out_of_range&) {
        refused = true;
    }

    co_await transfer::async_send(*peer, bye, use_awaitable);
    (void)co_await transfer::async_receive(*peer, use_awaitable);
    std::printf("%zu rows read by %s\n", 2 * wanted, std::string(to_string(peer->properties().transport)).c_str());
    co_return (good && refused);
}

} // namespace

int main(int count, char** values)
try {
    const auto transport = penstock::parse_transport_choice(count > 1 ? values[1] : "tcp").value();
    const auto address = asio::ip::make_address(count > 2 ? values[2] : "127.0.0.1");

    asio::io_context io(1);
    penstock::runtime_options options;
    options.transport = transport;
    penstock::runtime rt(io.get_executor(), options);
    int running = 2;
    bool good = true;
    const auto ended = [&](std::exception_ptr thrown, bool as_expected) {
        if (thrown) {
            std::rethrow_exception(thrown);
        }
        good = good && as_expected;
        if (--running == 0) {
            io.stop();
        }
    };

    penstock::connection::acceptor_options listen;
    listen.listen = {address, 0};
    listen.transport = transport;
    listen.messages = messages;
    const penstock::connection::acceptor acceptor(
        rt, listen, [&](connection_ptr peer) { asio::co_spawn(io, owner(rt, std::move(peer)), ended); });
    asio::co_spawn(io, reader(rt, acceptor.local_endpoint(), transport), ended);
    io.run();
    std::puts(good ? "the rows are right" : "the rows are wrong");
    return good ? 0 : 1;
} catch (const std::exception& thrown) {
    std::fprintf(stderr, "04_read: %s\n", thrown.what());
    return 1;
}
