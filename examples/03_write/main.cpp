// 03_write [auto|verbs|tcp [ADDRESS]]
//
// One side lets the other write into its memory; the other does, without any code of the first running. See README.md.

#include <penstock/connection/acceptor.hpp>
#include <penstock/connection/connection.hpp>
#include <penstock/core/byte_size.hpp>
#include <penstock/transfer/exposure.hpp>
#include <penstock/transfer/message.hpp>
#include <penstock/transfer/remote_access.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <exception>
#include <memory>
#include <span>
#include <string>

namespace asio = boost::asio;
namespace transfer = penstock::transfer;
using asio::awaitable;
using asio::use_awaitable;
using connection_ptr = std::unique_ptr<penstock::connection::connection>;
using namespace penstock::literals;

namespace {

constexpr penstock::connection::message_limits messages{256, 256}; // both sides state the same
constexpr std::size_t exposed_bytes = 1_MiB;
constexpr std::size_t written_offset = 4_KiB;
constexpr std::size_t written_bytes = 500'000;
constexpr std::byte before{0x11};
constexpr std::byte after{0x22};
constexpr std::array hello{std::byte{1}};
constexpr std::array bye{std::byte{2}};

/// Owns the memory, says where it is, and hears when it is done.
awaitable<bool> owner(penstock::runtime& rt, connection_ptr peer)
{
    const auto buffer = rt.pool().acquire(exposed_bytes).value();
    std::ranges::fill(buffer.bytes(), before);

    (void)co_await transfer::async_receive(*peer, use_awaitable); // the writer is there
    // From here the peer may write these bytes, and nothing else, by this connection, and by no other.
    auto exposed
        = co_await transfer::async_expose(*peer, buffer.slice(), penstock::fabric::access::remote_write, use_awaitable);
    std::array<std::byte, transfer::remote_buffer::encoded_bytes_max> text{};
    const auto length = exposed.remote().encode(text);
    co_await transfer::async_send(*peer, std::span(text).first(length), use_awaitable);

    (void)co_await transfer::async_receive(*peer, use_awaitable); // the writer is done
    co_await exposed.async_revoke(use_awaitable);                 // and from here nobody can any more
    co_await transfer::async_send(*peer, bye, use_awaitable);

    const auto part = [&](std::size_t offset, std::size_t length, std::byte expected) {
        return std::ranges::all_of(buffer.bytes().subspan(offset, length), [&](auto each) { return each == expected; });
    };
    const auto end = written_offset + written_bytes;
    co_return (part(0, written_offset, before) && part(written_offset, written_bytes, after)
        && part(end, exposed_bytes - end, before));
}

awaitable<bool> writer(penstock::runtime& rt, penstock::fabric::endpoint where, penstock::transport_choice transport)
{
    penstock::connection::connect_options options;
    options.transport = transport;
    options.messages = messages;
    const auto peer = co_await penstock::connection::async_connect(rt, where, options, use_awaitable);

    co_await transfer::async_send(*peer, hello, use_awaitable);
    const auto text = co_await transfer::async_receive(*peer, use_awaitable);
    // It came from outside: decode() checks it, slice() checks the range.
    const auto target = transfer::remote_buffer::decode(text.bytes()).value().slice(written_offset, written_bytes);

    const auto source = rt.pool().acquire(written_bytes).value();
    std::ranges::fill(source.bytes(), after);
    co_await transfer::async_write(*peer, source.slice(), target, use_awaitable); // placed in the peer's memory

    co_await transfer::async_send(*peer, bye, use_awaitable);
    (void)co_await transfer::async_receive(*peer, use_awaitable); // the owner has taken its memory back
    std::printf(
        "%zu bytes written by %s\n", written_bytes, std::string(to_string(peer->properties().transport)).c_str());
    co_return true;
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
    asio::co_spawn(io, writer(rt, acceptor.local_endpoint(), transport), ended);
    io.run();
    std::puts(good ? "exactly these bytes arrived" : "the memory is not as it should be");
    return good ? 0 : 1;
} catch (const std::exception& thrown) {
    std::fprintf(stderr, "03_write: %s\n", thrown.what());
    return 1;
}
