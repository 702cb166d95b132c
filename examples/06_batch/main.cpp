// 06_batch [auto|verbs|tcp [ADDRESS]]
//
// Many small pieces of the other side's memory in one operation: one doorbell, one completion, an error for each. See README.md.

#include <penstock/connection/acceptor.hpp>
#include <penstock/connection/connection.hpp>
#include <penstock/transfer/batch.hpp>
#include <penstock/transfer/exposure.hpp>
#include <penstock/transfer/message.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <span>
#include <string>

namespace asio = boost::asio;
namespace transfer = penstock::transfer;
using asio::awaitable;
using asio::use_awaitable;
using connection_ptr = std::unique_ptr<penstock::connection::connection>;

namespace {

constexpr penstock::connection::message_limits messages{256, 256}; // both sides state the same
constexpr std::size_t samples = 1'000;                             // exposed
constexpr std::size_t sample_bytes = 1'024;
constexpr std::size_t picked = 300; // read by one batch
constexpr std::array hello{std::byte{1}};
constexpr std::array bye{std::byte{2}};

/// The sample that the n-th read of the batch picks: all over the place, as training does.
std::uint32_t pick(std::size_t n)
{
    return static_cast<std::uint32_t>(n * 7'919 % samples);
}

awaitable<bool> owner(penstock::runtime& rt, connection_ptr peer)
{
    const auto buffer = rt.pool().acquire(samples * sample_bytes).value();
    for (std::uint32_t number = 0; number != samples; ++number) {
        std::memcpy(buffer.data() + number * sample_bytes, &number, sizeof number);
    }
    (void)co_await transfer::async_receive(*peer, use_awaitable);
    auto exposed
        = co_await transfer::async_expose(*peer, buffer.slice(), penstock::fabric::access::remote_read, use_awaitable);
    std::array<std::byte, transfer::remote_buffer::encoded_bytes_max> text{};
    const auto length = exposed.remote().encode(text);
    co_await transfer::async_send(*peer, std::span(text).first(length), use_awaitable);
    (void)co_await transfer::async_receive(*peer, use_awaitable);
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
    const auto all = transfer::remote_buffer::decode(text.bytes()).value();

    const auto buffer = rt.pool().acquire(picked * sample_bytes).value();
    transfer::batch batch(picked); // allocates here, and never again, however often it is used
    for (std::size_t n = 0; n != picked; ++n) {
        const auto error
            = batch.read(buffer.slice(n * sample_bytes, sample_bytes), all.slice(pick(n) * sample_bytes, sample_bytes));
        if (error.failed()) {
            co_return false;
        }
    }
    co_await transfer::async_transfer(*peer, batch, use_awaitable); // throws the first error of any

    bool good = true;
    for (std::size_t n = 0; n != picked; ++n) {
        std::uint32_t number = 0;
        std::memcpy(&number, buffer.data() + n * sample_bytes, sizeof number);
        good = good && !batch.error(n).failed() && number == pick(n);
    }
    co_await transfer::async_send(*peer, bye, use_awaitable);
    (void)co_await transfer::async_receive(*peer, use_awaitable);
    std::printf(
        "%zu samples in one batch by %s\n", picked, std::string(to_string(peer->properties().transport)).c_str());
    co_return good;
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
    std::puts(good ? "every sample is right" : "a sample is wrong");
    return good ? 0 : 1;
} catch (const std::exception& thrown) {
    std::fprintf(stderr, "06_batch: %s\n", thrown.what());
    return 1;
}
