#include "commands.hpp"

#include <penstock/core/byte_size.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <csignal>
#include <cstdio>
#include <memory>

namespace penstock::command {
namespace {

namespace asio = boost::asio;

// What requests on their way take from the pool, beside the cache.
constexpr std::size_t bytes_beside_cache = std::size_t{256} << 20U;

failure start_failure(const serve_arguments& arguments, const error_code& ec, std::string_view rdma_reason)
{
    const auto address = fmt::format("{}:{}", arguments.listen.address().to_string(), arguments.listen.port());
    if (ec == boost::system::errc::address_in_use) {
        return {exit_status::failed,
            fmt::format("{} is in use: stop what listens there, or choose another port (0: any)", address)};
    }
    if (ec == boost::system::errc::address_not_available) {
        return {exit_status::failed, fmt::format("{} is no address of this machine: correct --listen", address)};
    }
    if (ec == boost::system::errc::no_such_file_or_directory || ec == boost::system::errc::not_a_directory) {
        return {exit_status::failed,
            fmt::format("{}: {}: --root names the directory to serve", printable(arguments.root), explain(ec))};
    }
    if (ec == boost::system::errc::permission_denied) {
        return {exit_status::failed,
            fmt::format("permission denied: {} must be writable, and ports below 1024 need privileges",
                printable(arguments.root))};
    }
    if (ec == errc::wrong_state) {
        return {exit_status::failed,
            fmt::format(
                "another server serves {} already: stop it, or choose another root", printable(arguments.root))};
    }
    if (ec == errc::no_device) {
        return {exit_status::no_rdma,
            fmt::format("RDMA is required but not available here: {}; use --transport tcp or auto", rdma_reason)};
    }
    return {
        exit_status::failed, fmt::format("cannot serve {} on {}: {}", printable(arguments.root), address, explain(ec))};
}

void print_ready(const serve_arguments& arguments, const storage::server& server)
{
    const auto where = server.local_endpoint();
    if (arguments.json) {
        const nlohmann::ordered_json object{
            {"event", "ready"},
            {"address", where.address().to_string()},
            {"port", where.port()},
            {"root", arguments.root},
            {"transports", server.transports()},
        };
        fmt::print("{}\n", object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
    } else {
        const bool is_v6 = where.address().is_v6();
        fmt::print("serving {} on {}{}{}:{}; transports: {}\n", printable(arguments.root), is_v6 ? "[" : "",
            where.address().to_string(), is_v6 ? "]" : "", where.port(), server.transports());
    }
    std::fflush(stdout);
}

void print_stopped(const serve_arguments& arguments, const storage::server_statistics& seen, int signal)
{
    const char* const why = signal == SIGINT ? "SIGINT" : "SIGTERM";
    if (arguments.json) {
        const nlohmann::ordered_json object{
            {"event", "stopped"},
            {"signal", why},
            {"connections_accepted", seen.connections_accepted},
            {"handshakes_refused", seen.handshakes_refused},
            {"protocol_errors", seen.protocol_errors},
            {"requests", seen.requests},
            {"requests_failed", seen.requests_failed},
            {"bytes_read", seen.bytes_read},
            {"bytes_written", seen.bytes_written},
            {"cache_hits", seen.cache_hits},
            {"cache_misses", seen.cache_misses},
        };
        fmt::print("{}\n", object.dump());
    } else {
        fmt::print("stopped by {}: {} connections, {} requests ({} failed), {} read, {} written, {} protocol errors, "
                   "{} handshakes refused, cache {} hits {} misses\n",
            why, seen.connections_accepted, seen.requests, seen.requests_failed, format_byte_size(seen.bytes_read),
            format_byte_size(seen.bytes_written), seen.protocol_errors, seen.handshakes_refused, seen.cache_hits,
            seen.cache_misses);
    }
    std::fflush(stdout);
}

} // namespace

exit_status run_serve(const serve_arguments& arguments)
{
    asio::io_context io(1);
    // Before anything is made: a signal during the start must stop in order too.
    asio::signal_set signals(io, SIGINT, SIGTERM);
    std::unique_ptr<runtime> on;
    std::unique_ptr<storage::server> server;
    try {
        runtime_options wanted;
        wanted.transport = arguments.effective_transport();
        wanted.log = make_logger(arguments);
        wanted.pool.bytes_max = static_cast<std::size_t>(arguments.cache_bytes) + bytes_beside_cache;
        on = std::make_unique<runtime>(io.get_executor(), wanted);
        storage::server_options options;
        options.root = arguments.root;
        options.listen = arguments.listen;
        options.transport = arguments.effective_transport();
        options.connections_max = arguments.connections;
        options.cache_bytes = static_cast<std::size_t>(arguments.cache_bytes);
        server = std::make_unique<storage::server>(*on, options);
    } catch (const system_error& thrown) {
        throw start_failure(arguments, thrown.code(), on ? std::string(on->verbs_reason()) : thrown.code().message());
    }
    int signal = 0;
    signals.async_wait([&](const error_code& ec, int number) {
        if (!ec) {
            signal = number;
            server->stop();
            io.stop();
        }
    });
    print_ready(arguments, *server);
    io.run();
    print_stopped(arguments, server->statistics(), signal);
    return exit_status::success;
}

} // namespace penstock::command
