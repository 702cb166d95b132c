#include "commands.hpp"

#include <penstock/core/byte_size.hpp>
#include <penstock/core/log_spdlog.hpp>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <memory>

namespace penstock::command {

logger make_logger(const common_arguments& arguments)
{
    if (arguments.verbosity == 0) {
        return {};
    }
    static std::unique_ptr<log_sink> sink;
    if (!sink) {
        auto made = make_spdlog_sink();
        if (!made) {
            return {};
        }
        sink = std::move(*made);
    }
    const auto level = arguments.verbosity == 1 ? log_level::info
        : arguments.verbosity == 2              ? log_level::debug
                                                : log_level::trace;
    return logger(*sink, level, "command");
}

namespace {

void add_common(CLI::App& command, common_arguments& into)
{
    command
        .add_option_function<std::string>(
            "--transport",
            [&into](const std::string& text) {
                const auto parsed = parse_transport_choice(text);
                if (!parsed) {
                    throw CLI::ValidationError("--transport", fmt::format("'{}' is none of auto, verbs, tcp", text));
                }
                into.transport = *parsed;
            },
            "auto (verbs if both sides have RDMA, else tcp), verbs or tcp; which one is taken, and why, is always said")
        ->take_last()
        ->option_text("auto|verbs|tcp [auto]");
    command.add_flag("--require-rdma", into.require_rdma, "the same as --transport verbs: no RDMA is an error");
    command.add_flag("--json", into.json, "results as JSON on standard output");
    command.add_flag("-v,--verbose", into.verbosity, "log to standard error; -vv for more");
}

void add_client(CLI::App& command, client_arguments& into)
{
    add_common(command, into);
    command
        .add_option("--stall-timeout", into.stall_seconds,
            "give the server up when nothing is answered for so long; 0: wait for ever")
        ->check(CLI::Range(0.0, 1e6).description(""))
        ->take_last()
        ->option_text("SECONDS [120]");
}

void add_size(CLI::App& command, const std::string& name, std::uint64_t& into, const std::string& help,
    std::uint64_t lowest, std::uint64_t highest)
{
    command
        .add_option_function<std::string>(
            name,
            [&into, name, lowest, highest](const std::string& text) {
                const auto parsed = parse_byte_size(text);
                if (!parsed) {
                    throw CLI::ValidationError(
                        name, fmt::format("'{}' is not a size: write for example 4096, 64KiB or 1.5GiB", text));
                }
                if (*parsed < lowest || *parsed > highest) {
                    throw CLI::ValidationError(name,
                        fmt::format(
                            "{} is not between {} and {}", text, format_byte_size(lowest), format_byte_size(highest)));
                }
                into = *parsed;
            },
            help)
        ->take_last()
        ->option_text(fmt::format("SIZE [{}]", format_byte_size(into)));
}

void add_checksum(CLI::App& command, storage::checksum_mode& into)
{
    command
        .add_option_function<std::string>(
            "--checksum",
            [&into](const std::string& text) {
                if (text != "off" && text != "crc32c") {
                    throw CLI::ValidationError("--checksum", fmt::format("'{}' is none of off, crc32c", text));
                }
                into = text == "off" ? storage::checksum_mode::off : storage::checksum_mode::crc32c;
            },
            "what guards the data on its way")
        ->take_last()
        ->option_text("off|crc32c [crc32c]");
}

// ADDRESS, ADDRESS:PORT, [V6] or [V6]:PORT.
fabric::endpoint parse_listen(const std::string& text)
{
    const auto refuse = [&]() -> fabric::endpoint {
        throw CLI::ValidationError("--listen",
            fmt::format(
                "'{}' is not ADDRESS:PORT: write for example 0.0.0.0:7471 or [::1]:7471 (a numeric address)", text));
    };
    std::string address = text;
    std::string port;
    const auto colon = text.rfind(':');
    if (text.starts_with('[')) {
        const auto end = text.find(']');
        if (end == std::string::npos || (end + 1 != text.size() && text[end + 1] != ':')) {
            return refuse();
        }
        address = text.substr(1, end - 1);
        port = end + 1 == text.size() ? std::string() : text.substr(end + 2);
    } else if (colon != std::string::npos && text.find(':') == colon) {
        address = text.substr(0, colon);
        port = text.substr(colon + 1);
        if (port.empty()) {
            return refuse();
        }
    }
    std::uint16_t number = storage::default_port;
    if (!port.empty()) {
        const auto* const end = port.data() + port.size();
        const auto parsed = std::from_chars(port.data(), end, number);
        if (parsed.ec != std::errc() || parsed.ptr != end) {
            return refuse();
        }
    }
    error_code ec;
    const auto where = boost::asio::ip::make_address(address, ec);
    return ec ? refuse() : fabric::endpoint(where, number);
}

void add_serve(CLI::App& app, serve_arguments& into)
{
    auto& command = *app.add_subcommand("serve", "Serve a directory tree to clients");
    command.add_option("--root", into.root, "the directory to serve; must exist")->required()->option_text("DIR");
    into.listen = {boost::asio::ip::address_v4::loopback(), storage::default_port};
    command
        .add_option_function<std::string>(
            "--listen", [&into](const std::string& text) { into.listen = parse_listen(text); },
            "where to listen; port 0: the system chooses, see the line that is printed. Clients are not "
            "authenticated: listen only where everybody may read and write")
        ->option_text("ADDR:PORT [127.0.0.1:7471]");
    add_size(command, "--cache", into.cache_bytes, "registered memory that keeps what was read; 0: none", 0,
        std::uint64_t{1} << 46U);
    command.add_option("--connections", into.connections, "connections at most; more are refused")
        ->check(CLI::Range(1U, 65'536U).description(""))
        ->option_text("N [256]");
    add_common(command, into);
    command.footer("Prints one line when it is ready. Stops in order on SIGINT or SIGTERM.\n\n"
                   "Example:\n  penstock serve --root /srv/data --listen 192.0.2.1:7471");
}

void add_copy_options(CLI::App& command, copy_arguments& into, const std::string& form)
{
    command.add_option("paths", into.paths, form)->required()->expected(2, -1)->option_text(" ");
    add_checksum(command, into.checksum);
    add_client(command, into);
}

void add_put(CLI::App& app, copy_arguments& into)
{
    auto& command = *app.add_subcommand("put", "Copy files and directory trees to a server");
    add_copy_options(command, into, "FILE... URI");
    command
        .add_option_function<std::string>(
            "--durability",
            [&into](const std::string& text) {
                if (text != "received" && text != "persisted") {
                    throw CLI::ValidationError(
                        "--durability", fmt::format("'{}' is none of received, persisted", text));
                }
                into.durability = text == "received" ? storage::durability::received : storage::durability::persisted;
            },
            "received: survives the server's death; persisted: power loss too")
        ->take_last()
        ->option_text("received|persisted [received]");
    command.add_flag("--follow", into.follow, "follow symbolic links that stay inside their tree; others are skipped");
    command.footer(
        "With several FILEs, or a URI that ends in '/', each goes into that directory; else the URI is the new "
        "name.\n\nExamples:\n  penstock put model.bin penstock://storage:7471/models/llama.bin\n"
        "  penstock put shard-*.tar dataset/ penstock://storage/training/");
}

void add_get(CLI::App& app, copy_arguments& into)
{
    auto& command = *app.add_subcommand("get", "Copy files and directory trees from a server");
    add_copy_options(command, into, "URI... DEST");
    command.footer(
        "Into DEST when it is a directory, ends in '/', or there are several URIs; else DEST is the new name. "
        "Each file appears at once when it is complete.\n\nExample:\n"
        "  penstock get penstock://storage:7471/models/llama.bin .");
}

void add_list(CLI::App& app, list_arguments& into)
{
    auto& command = *app.add_subcommand("ls", "List a directory, or one file, of a server");
    command.add_option("uri", into.uri, "what to list")->required()->option_text("URI");
    command.add_flag("-R,--recursive", into.recursive, "everything beneath it as well");
    command.add_flag("-H,--human", into.human, "sizes as 1.5GiB instead of bytes");
    add_client(command, into);
    command.footer("Example:\n  penstock ls -R penstock://storage:7471/training/");
}

void add_bench(CLI::App& app, bench_arguments& into)
{
    auto& command = *app.add_subcommand("bench", "Measure reads from, or writes to, a running server");
    command
        .add_option_function<std::string>(
            "mode",
            [&into](const std::string& text) {
                if (text != "read" && text != "write") {
                    throw CLI::ValidationError("mode", fmt::format("'{}' is none of read, write", text));
                }
                into.write = text == "write";
            },
            "read: aligned extents at random; write: an object that is overwritten in rounds and dropped")
        ->required()
        ->option_text("read|write");
    command
        .add_option("uri", into.uri, "a file, a directory, or one that ends in '/': objects are made there, and kept")
        ->required()
        ->option_text("URI");
    add_size(command, "--size", into.size, "bytes of an extent", 1, std::uint64_t{1} << 30U);
    command.add_option("--depth", into.depth, "requests outstanding")
        ->check(CLI::Range(1U, 4'096U).description(""))
        ->option_text("N [16]");
    command.add_option("--seconds", into.seconds, "how long")
        ->check(CLI::Range(0.01, 86'400.0).description(""))
        ->option_text("SECONDS [3]");
    add_size(command, "--data", into.data, "how much distinct data, when it is made here", 1, std::uint64_t{1} << 50U);
    add_checksum(command, into.checksum);
    add_client(command, into);
    command.footer(
        "Example:\n  penstock bench read penstock://storage:7471/bench/ --size 1MiB --depth 16 --seconds 3 --json");
}

struct all_arguments {
    serve_arguments serve;
    copy_arguments put;
    copy_arguments get;
    list_arguments list;
    bench_arguments bench;
};

exit_status dispatch(const CLI::App& app, const all_arguments& arguments)
{
    if (app.got_subcommand("serve")) {
        return run_serve(arguments.serve);
    }
    if (app.got_subcommand("put")) {
        return run_put(arguments.put);
    }
    if (app.got_subcommand("get")) {
        return run_get(arguments.get);
    }
    if (app.got_subcommand("ls")) {
        return run_list(arguments.list);
    }
    return run_bench(arguments.bench);
}

std::string command_name(const CLI::App& app)
{
    const auto chosen = app.get_subcommands();
    return chosen.empty() ? "penstock" : "penstock " + chosen.front()->get_name();
}

int run(int argc, char** argv)
{
    CLI::App app("Moves data between storage and compute over RDMA, or over TCP where there is none.", "penstock");
    app.set_version_flag("--version", "penstock " PENSTOCK_VERSION);
    app.require_subcommand(1);
    app.get_formatter()->column_width(34);
    app.failure_message([](const CLI::App* failed, const CLI::Error& error) {
        return fmt::format("{}: {} (see {} --help)\n", command_name(*failed), error.what(), command_name(*failed));
    });
    app.footer(
        "Exit status: 0 done; 1 something failed; 2 bad arguments; 3 no connection; 4 connection lost; 5 RDMA required "
        "but not available; 130, 143 interrupted.\n\n"
        "Example:\n  penstock serve --root /srv/data --listen 127.0.0.1:7471 &\n"
        "  penstock put dataset penstock://127.0.0.1/\n  penstock get penstock://127.0.0.1/dataset copy");
    all_arguments arguments;
    add_serve(app, arguments.serve);
    add_put(app, arguments.put);
    add_get(app, arguments.get);
    add_list(app, arguments.list);
    add_bench(app, arguments.bench);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : static_cast<int>(exit_status::usage);
    }
    try {
        return static_cast<int>(dispatch(app, arguments));
    } catch (const failure& failed) {
        fmt::print(stderr, "{}: {}\n", command_name(app), failed.what());
        return static_cast<int>(failed.status());
    } catch (const std::exception& thrown) {
        fmt::print(stderr, "{}: {}\n", command_name(app), thrown.what());
        return static_cast<int>(exit_status::failed);
    }
}

} // namespace
} // namespace penstock::command

int main(int argc, char** argv)
{
    // A reader that goes away is an error of the write, not the end of a copy.
    std::signal(SIGPIPE, SIG_IGN);
    return penstock::command::run(argc, argv);
}
