// transfer_perf serve [--listen ADDRESS:PORT]       a target; prints {"event":"ready","port":...}
// transfer_perf read|write|send ADDRESS:PORT ...    measures, and prints one JSON object
//
// What the library's one-sided operations and messages cost, without objects, files or checksums, between two processes that
// spin. `send` is a ping-pong, and its times are half a round trip. See docs/benchmarks.md.

#include "options.hpp"

#include <penstock/core/byte_size.hpp>

#include <CLI/CLI.hpp>

#include <cstdio>
#include <exception>
#include <string>

namespace {

using namespace transfer_perf;

penstock::fabric::endpoint parse_endpoint(const std::string& text)
{
    const auto colon = text.rfind(':');
    const auto port = colon == std::string::npos ? 0 : std::stoul(text.substr(colon + 1));
    auto host = text.substr(0, colon);
    if (host.size() > 1 && host.front() == '[') {
        host = host.substr(1, host.size() - 2);
    }
    if (port > 65'535) {
        throw std::invalid_argument("no port: " + text);
    }
    return {boost::asio::ip::make_address(host), static_cast<std::uint16_t>(port)};
}

void run(int count, char** values)
{
    CLI::App command{"measures one-sided operations and messages"};
    std::string what;
    std::string where = "127.0.0.1:0";
    std::string transport = "auto";
    std::string size = "64KiB";
    std::string data = "0B";
    double seconds = 3;
    options with;
    command.add_option("what", what)->required()->check(CLI::IsMember({"serve", "read", "write", "send"}));
    command.add_option("where,--listen", where, "address:port");
    command.add_option("--transport", transport)->check(CLI::IsMember({"auto", "verbs", "tcp"}));
    command.add_option("--size", size, "bytes of one operation");
    command.add_option("--depth", with.depth, "operations outstanding")->check(CLI::Range(1, 1'024));
    command.add_option("--seconds", seconds)->check(CLI::Range(0.1, 3'600.0));
    command.add_option("--data", data, "serve: bytes exposed");
    try {
        command.parse(count, values);
    } catch (const CLI::ParseError& thrown) {
        std::exit(command.exit(thrown));
    }
    with.where = parse_endpoint(where);
    with.transport = penstock::parse_transport_choice(transport).value();
    with.size = penstock::parse_byte_size(size).value();
    with.data = penstock::parse_byte_size(data).value();
    with.length = std::chrono::duration<double>(seconds);
    if (with.size == 0 || (what == "send" && (with.size > message_bytes_max || with.depth != 1))) {
        throw std::invalid_argument("--size is above 0; send takes at most 4 KiB at --depth 1");
    }
    if (what == "serve") {
        serve(with);
        return;
    }
    with.what = what == "read" ? operation::read : what == "write" ? operation::write : operation::send;
    measure(with);
}

} // namespace

int main(int count, char** values)
try {
    run(count, values);
    return 0;
} catch (const std::exception& thrown) {
    std::fprintf(stderr, "transfer_perf: %s\n", thrown.what());
    return 1;
}
