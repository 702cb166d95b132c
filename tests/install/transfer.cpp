// A small transfer over tcp: both sides in one process, on one loop. Exits with 0 if the bytes arrived.

#include <penstock/connection/acceptor.hpp>
#include <penstock/connection/connection.hpp>
#include <penstock/transfer/transfer.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>

namespace asio = boost::asio;

namespace {

constexpr std::size_t length = 100'000;

struct sides {
    explicit sides(asio::io_context& io)
        : server(io.get_executor(), tcp())
        , client(io.get_executor(), tcp())
    {}

    static penstock::runtime_options tcp()
    {
        penstock::runtime_options options;
        options.transport = penstock::transport_choice::tcp;
        return options;
    }

    penstock::runtime server;
    penstock::runtime client;
    std::unique_ptr<penstock::connection::connection> accepted;
};

asio::awaitable<void> transfer(sides& both, bool& arrived)
{
    penstock::connection::acceptor_options listen;
    listen.listen = {asio::ip::address_v4::loopback(), 0};
    penstock::connection::acceptor acceptor(both.server, listen, [&](auto made) { both.accepted = std::move(made); });
    const auto connection
        = co_await penstock::connection::async_connect(both.client, acceptor.local_endpoint(), {}, asio::use_awaitable);

    const auto target = both.server.pool().acquire().value();
    const auto source = both.client.pool().acquire().value();
    auto& device = *both.server.device(penstock::fabric::transport::tcp);
    const auto exposed = device.domain
                             ->register_memory(target.bytes(),
                                 penstock::fabric::access::local_write | penstock::fabric::access::remote_write)
                             .value();
    std::fill(target.bytes().begin(), target.bytes().end(), std::byte{1});
    std::fill(source.bytes().begin(), source.bytes().end(), std::byte{2});

    // Over tcp the passive side moves its bytes while its poller runs.
    both.server.poller().hold();
    co_await penstock::transfer::async_write(connection->data(), source.slice(0, length).segment(0),
        {reinterpret_cast<std::uintptr_t>(target.data()), exposed->rkey()}, asio::use_awaitable);
    both.server.poller().release_hold();

    const auto written = target.bytes().first(length);
    arrived = std::all_of(written.begin(), written.end(), [](std::byte each) { return each == std::byte{2}; })
        && target.bytes()[length] == std::byte{1};
    both.accepted.reset();
}

} // namespace

int main()
try {
    asio::io_context io(1);
    sides both(io);
    bool arrived = false;
    asio::co_spawn(io, transfer(both, arrived), [&](std::exception_ptr thrown) {
        io.stop();
        if (thrown) {
            std::rethrow_exception(thrown);
        }
    });
    io.run();
    return arrived ? EXIT_SUCCESS : EXIT_FAILURE;
} catch (const std::exception& thrown) {
    std::fprintf(stderr, "transfer: %s\n", thrown.what());
    return EXIT_FAILURE;
}
