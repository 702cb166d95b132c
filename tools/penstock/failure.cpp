#include "failure.hpp"

#include <boost/asio/error.hpp>
#include <fmt/format.h>

namespace penstock::command {
namespace {

bool is_name_failure(const error_code& ec)
{
    return ec.category() == boost::asio::error::get_netdb_category()
        || ec.category() == boost::asio::error::get_addrinfo_category();
}

} // namespace

std::string explain(const error_code& ec)
{
    return ec.message();
}

std::string server_name(const storage::uri& where)
{
    const bool is_v6 = where.host.find(':') != std::string::npos;
    return is_v6 ? fmt::format("[{}]:{}", where.host, where.port) : fmt::format("{}:{}", where.host, where.port);
}

failure open_failure(const storage::uri& where, const error_code& ec, std::string_view rdma_reason)
{
    const std::string server = server_name(where);
    if (is_name_failure(ec)) {
        return {exit_status::no_connection,
            fmt::format("unknown host '{}': {}; check the name in the URI", printable(where.host), ec.message())};
    }
    if (ec == errc::no_device) {
        return {exit_status::no_rdma,
            fmt::format("RDMA is required but not available here: {}; use --transport tcp or auto", rdma_reason)};
    }
    if (ec == errc::remote_refused_feature) {
        return {exit_status::no_rdma,
            fmt::format("RDMA is required but {} does not offer it; use --transport tcp or auto", server)};
    }
    if (ec == errc::refused || ec == boost::system::errc::connection_refused) {
        return {exit_status::no_connection,
            fmt::format("{} refuses the connection: start `penstock serve` there, or correct the port", server)};
    }
    if (ec == errc::timed_out || ec == boost::system::errc::timed_out) {
        return {exit_status::no_connection,
            fmt::format(
                "{} does not answer: check that it is a penstock server and that no firewall is between", server)};
    }
    if (ec == errc::unreachable || ec == boost::system::errc::host_unreachable
        || ec == boost::system::errc::network_unreachable) {
        return {
            exit_status::no_connection, fmt::format("{} cannot be reached: check the address and the network", server)};
    }
    if (is_fatal(ec)) {
        return {exit_status::no_connection,
            fmt::format(
                "cannot open a connection to {}: {}; is it a penstock server of this version?", server, explain(ec))};
    }
    return {exit_status::no_connection, fmt::format("cannot open a connection to {}: {}", server, explain(ec))};
}

std::string printable(std::string_view name)
{
    std::string text;
    text.reserve(name.size());
    for (const char c : name) {
        const auto code = static_cast<unsigned char>(c);
        if (c == '\n') {
            text += "\\n";
        } else if (c == '\\') {
            text += "\\\\";
        } else if (code < 0x20 || code == 0x7f) {
            text += fmt::format("\\x{:02x}", code);
        } else {
            text += c;
        }
    }
    return text;
}

storage::uri require_uri(std::string_view text)
{
    auto parsed = storage::parse_uri(text);
    if (!parsed) {
        throw failure(exit_status::usage,
            fmt::format("'{}' is not a penstock URI: write penstock://HOST[:PORT]/NAME", printable(text)));
    }
    if (!parsed->name.empty() && !storage::is_valid_name(parsed->name)) {
        throw failure(exit_status::usage,
            fmt::format("'{}' names nothing a server can hold: no component may be empty, \".\" or \"..\", longer than "
                        "255 bytes, or begin with \".penstock\" at the top",
                printable(text)));
    }
    return *parsed;
}

} // namespace penstock::command
