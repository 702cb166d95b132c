// 09_many_connections [auto|verbs|tcp [ADDRESS]]
//
// More cores: more runtimes. Each thread has its own loop, devices and memory, and many connections; nothing is shared, and nothing
// locked. See README.md.

#include <penstock/connection/acceptor.hpp>
#include <penstock/connection/connection.hpp>
#include <penstock/transfer/message.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace asio = boost::asio;
namespace transfer = penstock::transfer;
using asio::awaitable;
using asio::use_awaitable;
using connection_ptr = std::unique_ptr<penstock::connection::connection>;

namespace {

constexpr std::size_t threads = 2;     // of each role
constexpr std::size_t connections = 8; // of each client's thread
constexpr std::uint64_t numbers = 100; // sent by each connection

penstock::runtime_options for_a_thread(penstock::transport_choice transport)
{
    penstock::runtime_options options;
    options.transport = transport;
    options.polling = penstock::completion::poll_options::event(); // more threads than processors: nobody spins
    return options;
}

void rethrow(std::exception_ptr thrown)
{
    if (thrown) {
        std::rethrow_exception(thrown);
    }
}

awaitable<void> add_numbers(connection_ptr peer, std::uint64_t& sum)
{
    for (std::uint64_t received = 0; received != numbers; ++received) {
        const auto message = co_await transfer::async_receive(*peer, use_awaitable);
        std::uint64_t number = 0;
        std::memcpy(&number, message.bytes().data(), std::min(sizeof number, message.bytes().size()));
        sum += number;
    }
    co_await transfer::async_send(*peer, std::as_bytes(std::span("done")), use_awaitable);
    (void)co_await transfer::async_receive(*peer, asio::as_tuple(use_awaitable)); // until it leaves
}

/// One thread of the server. Connections stay on the thread that accepted them.
struct server {
    server(penstock::transport_choice transport, const asio::ip::address& address)
        : rt(io.get_executor(), for_a_thread(transport))
    {
        penstock::connection::acceptor_options listen;
        listen.listen = {address, 0};
        listen.transport = transport;
        acceptor.emplace(rt, listen,
            [this](connection_ptr peer) { asio::co_spawn(io, add_numbers(std::move(peer), sum), rethrow); });
    }

    asio::io_context io{1};
    penstock::runtime rt;
    std::uint64_t sum = 0;
    std::optional<penstock::connection::acceptor> acceptor;
};

awaitable<void> send_numbers(
    penstock::runtime& rt, penstock::fabric::endpoint where, const penstock::connection::connect_options& options)
{
    const auto peer = co_await penstock::connection::async_connect(rt, where, options, use_awaitable);
    for (std::uint64_t number = 1; number <= numbers; ++number) {
        co_await transfer::async_send(*peer, std::as_bytes(std::span(&number, 1)), use_awaitable);
    }
    (void)co_await transfer::async_receive(*peer, use_awaitable);
}

/// One thread of the client: ends when all its connections have.
void run_client(penstock::transport_choice transport, penstock::fabric::endpoint where)
{
    asio::io_context io(1);
    penstock::runtime rt(io.get_executor(), for_a_thread(transport));
    penstock::connection::connect_options options;
    options.transport = transport;
    options.depth = 16; // of each connection: what a thread's queues hold is the sum
    for (std::size_t i = 0; i != connections; ++i) {
        asio::co_spawn(io, send_numbers(rt, where, options), rethrow);
    }
    io.run();
}

} // namespace

int main(int count, char** values)
try {
    const auto transport = penstock::parse_transport_choice(count > 1 ? values[1] : "tcp").value();
    const auto address = asio::ip::make_address(count > 2 ? values[2] : "127.0.0.1");
    std::vector<std::unique_ptr<server>> servers;
    std::vector<std::future<void>> running;
    std::vector<std::future<void>> clients;
    for (std::size_t i = 0; i != threads; ++i) {
        auto& one = *servers.emplace_back(std::make_unique<server>(transport, address));
        const auto where = one.acceptor->local_endpoint();
        running.push_back(std::async(std::launch::async, [&one] { one.io.run(); }));
        clients.push_back(std::async(std::launch::async, run_client, transport, where));
    }
    for (auto& each : clients) {
        each.get();
    }
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i != threads; ++i) {
        // What is posted is all that crosses over. The loop ends when nobody listens and nobody is connected.
        asio::post(servers[i]->io, [&one = *servers[i]] { one.acceptor.reset(); });
        running[i].get();
        sum += servers[i]->sum;
    }
    std::printf("%zu connections on %zu threads: the sum is %llu\n", threads * connections, 2 * threads,
        static_cast<unsigned long long>(sum));
    return sum == threads * connections * numbers * (numbers + 1) / 2 ? 0 : 1;
} catch (const std::exception& thrown) {
    std::fprintf(stderr, "09_many_connections: %s\n", thrown.what());
    return 1;
}
