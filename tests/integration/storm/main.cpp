// Connects many times at once, to one acceptor in the same process, and then uses every connection.
// Exit status: 0, or 1 if a connection was not made, does not work, or it took longer than --seconds.

#include <penstock/connection/acceptor.hpp>
#include <penstock/connection/connection.hpp>
#include <penstock/transfer/transfer.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/address.hpp>
#include <CLI/CLI.hpp>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace penstock;
using connection_ptr = std::unique_ptr<connection::connection>;

struct settings {
    std::string transport = "tcp";
    std::uint32_t connections = 1'000;
    unsigned seconds = 0; ///< 0: not judged
};

runtime_options roomy(transport_choice transport)
{
    runtime_options options;
    options.transport = transport;
    options.completion_depth = 1U << 17U;
    options.poller.operations_max = 1U << 17U;
    options.message_bytes_max = std::size_t{1} << 30U;
    return options;
}

struct storm {
    explicit storm(settings what)
        : wanted(std::move(what))
    {}

    settings wanted;
    transport_choice transport = parse_transport_choice(wanted.transport).value();
    boost::asio::io_context context;
    runtime server{context.get_executor(), roomy(transport)};
    runtime client{context.get_executor(), roomy(transport)};
    std::unique_ptr<connection::acceptor> listening;
    std::vector<connection_ptr> accepted;
    std::vector<connection_ptr> made;
    std::uint32_t ended = 0;
    std::uint32_t heard = 0;
    std::uint32_t sent = 0;

    void listen()
    {
        const char* const address = std::getenv("PENSTOCK_ADDRESS");
        connection::acceptor_options options;
        options.listen = {boost::asio::ip::make_address(address != nullptr ? address : "127.0.0.1"), 0};
        options.transport = transport;
        options.depth = 4;
        options.half_open_max = options.connections_max = wanted.connections;
        options.handshake_timeout = std::chrono::seconds(60);
        listening = std::make_unique<connection::acceptor>(server, options, [this](connection_ptr one) {
            one->on_message([this](std::span<const std::byte>) { ++heard; });
            accepted.push_back(std::move(one));
        });
    }

    void connect_all()
    {
        connection::connect_options options;
        options.transport = transport;
        options.depth = 4;
        options.timeout = std::chrono::seconds(60);
        for (std::uint32_t count = 0; count != wanted.connections; ++count) {
            async_connect(client, listening->local_endpoint(), options, [this](error_code error, connection_ptr one) {
                ++ended;
                if (error.failed()) {
                    std::cerr << "storm_test: FAILED: " << error.message() << '\n';
                } else {
                    made.push_back(std::move(one));
                }
            });
        }
    }

    void use_all()
    {
        for (const auto& one : made) {
            auto& lane = one->data();
            const auto slot = lane.acquire_message().value();
            transfer::async_send(lane, slot.segment(8), [this, &lane, slot](error_code error) {
                lane.release_message(slot);
                sent += error.failed() ? 0U : 1U;
                ++ended;
            });
        }
    }

    template <class Condition>
    std::chrono::duration<double> run_until(const Condition& reached)
    {
        const auto start = std::chrono::steady_clock::now();
        const auto limit = start + std::chrono::seconds(70);
        while (!reached() && std::chrono::steady_clock::now() < limit) {
            (void)context.run_one_for(std::chrono::milliseconds(100));
        }
        return std::chrono::steady_clock::now() - start;
    }

    int run()
    {
        listen();
        connect_all();
        const auto connecting = run_until([this] { return ended == wanted.connections; });
        ended = 0;
        use_all();
        const auto using_them = run_until([this] { return ended == made.size() && heard == made.size(); });
        std::cout << made.size() << " connections on " << wanted.transport << " in " << connecting.count()
                  << " s; a message on each in " << using_them.count() << " s\n";
        const bool whole = made.size() == wanted.connections && accepted.size() == wanted.connections
            && sent == wanted.connections && heard == wanted.connections;
        const bool fast = wanted.seconds == 0 || connecting.count() <= wanted.seconds;
        if (!whole || !fast) {
            std::cerr << "storm_test: FAILED: " << (whole ? "too slow" : "not every connection was made and works")
                      << '\n';
        }
        made.clear();
        accepted.clear();
        listening.reset();
        return whole && fast ? 0 : 1;
    }
};

} // namespace

int main(int argc, char** argv)
{
    settings wanted;
    CLI::App app("Connects many times at once and then uses every connection.");
    app.add_option("--transport", wanted.transport)->check(CLI::IsMember({"tcp", "verbs"}));
    app.add_option("--connections", wanted.connections)->check(CLI::Range(1, 10'000));
    app.add_option("--seconds", wanted.seconds, "fails if connecting takes longer");
    CLI11_PARSE(app, argc, argv);
    try {
        storm one(wanted);
        return one.run();
    } catch (const std::exception& error) {
        std::cerr << "storm_test: FAILED: " << error.what() << '\n';
        return 1;
    }
}
