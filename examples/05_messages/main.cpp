// 05_messages [auto|verbs|tcp [ADDRESS]]
//
// Messages: each is received into memory that is there for it already, and a sender that is too fast waits. See README.md.

#include <penstock/connection/acceptor.hpp>
#include <penstock/connection/connection.hpp>
#include <penstock/transfer/message.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

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
using namespace asio::experimental::awaitable_operators;
using connection_ptr = std::unique_ptr<penstock::connection::connection>;

namespace {

constexpr std::uint32_t questions = 1'000;

std::span<const std::byte> bytes_of(const std::uint32_t& value)
{
    return std::as_bytes(std::span(&value, 1));
}

std::uint32_t number_in(std::span<const std::byte> message)
{
    std::uint32_t value = 0;
    if (message.size() != sizeof value) { // it came from outside
        throw std::runtime_error("not a number");
    }
    std::memcpy(&value, message.data(), sizeof value);
    return value;
}

/// Answers each question with its double.
awaitable<bool> answerer(connection_ptr peer)
{
    for (std::uint32_t answered = 0; answered != questions; ++answered) {
        const auto question = co_await transfer::async_receive(*peer, use_awaitable);
        const std::uint32_t answer = 2 * number_in(question.bytes());
        co_await transfer::async_send(*peer, bytes_of(answer), use_awaitable);
    } // the question goes, and gives its memory back: now the peer may send one more
    // The peer leaves when it has all answers; nothing more comes.
    auto [error, none] = co_await transfer::async_receive(*peer, asio::as_tuple(use_awaitable));
    co_return (error.failed() && !none);
}

/// Sends all at once: as many as there is room for at the other side are on their way, the others wait.
awaitable<void> ask(penstock::connection::connection& peer)
{
    for (std::uint32_t question = 0; question != questions; ++question) {
        co_await transfer::async_send(
            peer, bytes_of(question), use_awaitable); // copied; completed: placed in a receive
    }
}

/// Messages arrive in the order they were sent.
awaitable<bool> listen(penstock::connection::connection& peer)
{
    bool good = true;
    for (std::uint32_t question = 0; question != questions; ++question) {
        const auto answer = co_await transfer::async_receive(peer, use_awaitable);
        good = good && number_in(answer.bytes()) == 2 * question;
    }
    co_return good;
}

awaitable<bool> asker(penstock::runtime& rt, penstock::fabric::endpoint where, penstock::transport_choice transport)
{
    penstock::connection::connect_options options;
    options.transport = transport;
    const auto peer = co_await penstock::connection::async_connect(rt, where, options, use_awaitable);
    const bool good = co_await (ask(*peer) && listen(*peer));
    std::printf(
        "%u questions answered by %s\n", questions, std::string(to_string(peer->properties().transport)).c_str());
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
    const penstock::connection::acceptor acceptor(
        rt, listen, [&](connection_ptr peer) { asio::co_spawn(io, answerer(std::move(peer)), ended); });
    asio::co_spawn(io, asker(rt, acceptor.local_endpoint(), transport), ended);
    io.run();
    std::puts(good ? "every answer is right" : "an answer is wrong");
    return good ? 0 : 1;
} catch (const std::exception& thrown) {
    std::fprintf(stderr, "05_messages: %s\n", thrown.what());
    return 1;
}
