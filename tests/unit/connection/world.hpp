#pragma once

// Two runtimes, an acceptor and a client, on one io_context.

#include "support/catch.hpp"

#include <penstock/connection/acceptor.hpp>
#include <penstock/connection/connection.hpp>

#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace penstock::test {

using connection::acceptor;
using connection::acceptor_options;
using connection_ptr = std::unique_ptr<connection::connection>;

inline std::size_t open_descriptors()
{
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

inline runtime_options small_runtime()
{
    runtime_options options;
    options.transport = transport_choice::tcp;
    options.pool.slice_bytes = std::size_t{64} << 10U;
    options.pool.arena_bytes = std::size_t{256} << 10U;
    options.polling.spin = std::chrono::microseconds(0);
    return options;
}

struct attempt {
    bool ended = false;
    error_code error{};
    connection_ptr made;
};

struct world {
    boost::asio::io_context context;
    std::optional<runtime> server{std::in_place, context.get_executor(), small_runtime()};
    std::optional<runtime> client{std::in_place, context.get_executor(), small_runtime()};
    std::optional<acceptor> listening;
    std::vector<connection_ptr> accepted;

    explicit world(acceptor_options options = {})
    {
        options.listen = {boost::asio::ip::address_v4::loopback(), 0};
        listening.emplace(*server, options, [this](connection_ptr made) { accepted.push_back(std::move(made)); });
    }

    void run_until(const std::function<bool()>& reached)
    {
        const auto limit = system_clock_source().now() + std::chrono::seconds(10);
        while (!reached()) {
            if (system_clock_source().now() > limit) {
                FAIL("not within ten seconds");
            }
            if (context.stopped()) {
                context.restart();
            }
            (void)context.run_one_for(std::chrono::milliseconds(10));
        }
    }

    /// Until nothing keeps the executor busy: nothing may be outstanding, and no acceptor may listen.
    void run_out()
    {
        context.restart();
        (void)context.run_for(std::chrono::seconds(10));
        REQUIRE(context.stopped());
    }

    void begin(attempt& which, connection::connect_options options = {})
    {
        async_connect(*client, listening->local_endpoint(), options, [&which](error_code error, connection_ptr made) {
            which.ended = true;
            which.error = error;
            which.made = std::move(made);
        });
        CHECK_FALSE(which.ended); // never inside the initiating function
    }

    connection_ptr connect(const connection::connect_options& options = {})
    {
        attempt one;
        const auto before = accepted.size();
        begin(one, options);
        run_until([&] { return one.ended && accepted.size() > before; });
        INFO(one.error.message());
        REQUIRE(one.made);
        return std::move(one.made);
    }
};

} // namespace penstock::test
