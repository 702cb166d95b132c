// 01_connect [auto|verbs|tcp [ADDRESS]]
//
// Two sides meet: one accepts, the other connects, each learns how they are connected, and each is told when the other leaves.
// See README.md.

#include <penstock/connection/acceptor.hpp>
#include <penstock/connection/connection.hpp>
#include <penstock/connection/runtime.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>

namespace asio = boost::asio;
using asio::awaitable;
using asio::use_awaitable;
using connection_ptr = std::unique_ptr<penstock::connection::connection>;

namespace {

/// What the server knows. In a program of its own this is most of it.
struct server {
    server(penstock::runtime& rt, const penstock::connection::acceptor_options& options)
        : acceptor(rt, options, [this](connection_ptr accepted) {
            // Its handlers are set before this returns; nothing can have come before.
            accepted->on_down([this](const penstock::error_code& why) { farewell = why; });
            peer = std::move(accepted);
        })
    {}

    connection_ptr peer;
    penstock::error_code farewell;
    penstock::connection::acceptor acceptor; // first to go: it stops accepting
};

void print(const char* who, const penstock::connection::connection_properties& how)
{
    std::printf("%s: %s, because %s; device %s, up to %u requests outstanding\n", who,
        std::string(to_string(how.transport)).c_str(), how.transport_reason.c_str(), how.device.c_str(), how.depth);
}

/// Lets the loop turn until something is so; false after five seconds.
template <class Condition>
awaitable<bool> until(penstock::runtime& rt, Condition condition)
{
    const auto deadline = rt.time().now() + std::chrono::seconds(5);
    while (!condition() && rt.time().now() < deadline) {
        co_await asio::post(rt.executor(), use_awaitable);
    }
    co_return condition();
}

awaitable<bool> client(penstock::runtime& rt, server& other, penstock::connection::connect_options options)
{
    const auto where = other.acceptor.local_endpoint();
    auto connection = co_await penstock::connection::async_connect(rt, where, options, use_awaitable);
    print("client", connection->properties());
    if (!co_await until(rt, [&] { return other.peer != nullptr; })) {
        co_return false;
    }
    print("server", other.peer->properties());
    const bool agreed = connection->properties().transport == other.peer->properties().transport;

    // Destroying a connection ends it at once; the other side is told why.
    connection.reset();
    const bool told = co_await until(rt, [&] { return other.farewell.failed(); });
    std::printf("server: the client has left: %s\n", other.farewell.message().c_str());

    // Errors are conditions; with as_tuple they are values. Nobody listens on port 1.
    options.timeout = std::chrono::seconds(2);
    auto [error, none] = co_await penstock::connection::async_connect(
        rt, {where.address(), 1}, options, asio::as_tuple(use_awaitable));
    std::printf("client: port 1: %s\n", error.message().c_str());

    const bool refused = error == penstock::errc::refused && none == nullptr;
    co_return (agreed && told && refused);
}

} // namespace

int main(int count, char** values)
try {
    const auto transport = penstock::parse_transport_choice(count > 1 ? values[1] : "tcp").value();
    const auto address = asio::ip::make_address(count > 2 ? values[2] : "127.0.0.1");

    asio::io_context io(1);
    penstock::runtime_options options;
    options.transport = transport;
    penstock::runtime rt(io.get_executor(), options); // one for each thread; both roles share this one

    penstock::connection::acceptor_options listen;
    listen.listen = {address, 0}; // port 0: the system chooses
    listen.transport = transport;
    server here(rt, listen);

    penstock::connection::connect_options wanted;
    wanted.transport = transport;
    bool good = false;
    asio::co_spawn(io, client(rt, here, wanted), [&](std::exception_ptr thrown, bool as_expected) {
        good = as_expected;
        io.stop();
        if (thrown) {
            std::rethrow_exception(thrown);
        }
    });
    io.run();
    return good ? 0 : 1;
} catch (const std::exception& thrown) {
    std::fprintf(stderr, "01_connect: %s\n", thrown.what());
    return 1;
}
