#include "commands.hpp"
#include "store.hpp"

#include <penstock/core/byte_size.hpp>

#include "report.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <ctime>

namespace penstock::command {
namespace {

struct listed_entry {
    std::string name; // relative to what was asked for
    storage::object_info info;
};

std::string permission_text(const storage::object_info& info)
{
    std::string text = info.kind == storage::object_kind::directory ? "d" : "-";
    for (int shift = 8; shift >= 0; --shift) {
        constexpr const char* letters = "xwr";
        text += (info.permissions >> shift & 1U) != 0 ? letters[shift % 3] : '-';
    }
    return text;
}

std::string time_text(std::int64_t nanoseconds)
{
    constexpr std::int64_t second = 1'000'000'000;
    const auto whole = static_cast<std::time_t>(nanoseconds / second - (nanoseconds % second < 0 ? 1 : 0));
    std::tm parts{};
    if (::gmtime_r(&whole, &parts) == nullptr) {
        return "?";
    }
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
        parts.tm_hour, parts.tm_min, parts.tm_sec);
}

storage::uri uri_of(const storage::uri& top, const listed_entry& entry, bool is_top)
{
    auto where = top;
    where.name = is_top ? top.name : top.name.empty() ? entry.name : top.name + '/' + entry.name;
    where.names_directory = entry.info.kind == storage::object_kind::directory;
    return where;
}

class list_command {
public:
    explicit list_command(const list_arguments& arguments)
        : arguments_(arguments)
        , where_(require_uri(arguments.uri))
    {}

    exit_status run()
    {
        session_options wanted;
        wanted.transport = arguments_.effective_transport();
        wanted.stall_limit = arguments_.stall_limit();
        wanted.slices = 4;
        wanted.log = make_logger(arguments_);
        session on(where_, wanted);
        on.run([this](session& opened) { return list(opened); });
        if (on.stopped()) {
            fmt::print(stderr, "penstock ls: {}\n",
                on.signal() != 0
                    ? std::string("interrupted")
                    : fmt::format("connection to {} lost ({})", server_name(where_), explain(on.stopped())));
            return status_of_stop(on);
        }
        return failed_ ? exit_status::failed : exit_status::success;
    }

private:
    awaitable<void> list(session& on)
    {
        store objects(on);
        const auto info = co_await objects.stat(where_.name);
        if (!info) {
            if (on.stopped()) {
                co_return;
            }
            throw failure(exit_status::failed, fmt::format("{}: {}", printable(arguments_.uri), explain(info.error())));
        }
        if (info->kind == storage::object_kind::file) {
            is_file_ = true;
            entries_.push_back({where_.name, *info});
        } else {
            co_await list_directory(objects, on, {});
        }
        if (!on.stopped()) {
            print(on.properties());
        }
    }

    // Depth first, so that what is in a directory follows it.
    awaitable<void> list_directory(store& objects, session& on, std::string relative)
    {
        const auto name = relative.empty() ? where_.name
            : where_.name.empty()          ? relative
                                           : where_.name + '/' + relative;
        auto page = co_await objects.list(name);
        if (on.stopped()) {
            co_return;
        }
        if (!page) {
            failed_ = true;
            fmt::print(stderr, "penstock ls: {}: {}\n", printable(name), explain(page.error()));
            co_return;
        }
        for (auto& entry : *page) {
            auto path = relative.empty() ? entry.name : relative + '/' + entry.name;
            entries_.push_back({path, entry.info});
            if (arguments_.recursive && entry.info.kind == storage::object_kind::directory) {
                co_await list_directory(objects, on, std::move(path));
            }
        }
    }

    void print(const storage::client::properties& properties) const
    {
        if (arguments_.json) {
            print_json(properties);
        } else {
            std::fflush(stdout);
            fmt::print(stderr, "{} ({})\n", fabric::to_string(properties.transport), properties.transport_reason);
            for (const auto& entry : entries_) {
                const auto size
                    = arguments_.human ? format_byte_size(entry.info.size) : fmt::to_string(entry.info.size);
                fmt::print("{} {:>12} {} {}{}\n", permission_text(entry.info), size, time_text(entry.info.modified_ns),
                    printable(entry.name), entry.info.kind == storage::object_kind::directory ? "/" : "");
            }
        }
        if (std::fflush(stdout) != 0) {
            throw failure(exit_status::failed, "cannot write to standard output");
        }
    }

    void print_json(const storage::client::properties& properties) const
    {
        auto list = nlohmann::ordered_json::array();
        for (const auto& entry : entries_) {
            const bool is_directory = entry.info.kind == storage::object_kind::directory;
            list.push_back({
                {"name", entry.name},
                {"uri", to_string(uri_of(where_, entry, is_file_))},
                {"kind", is_directory ? "directory" : "file"},
                {"permissions", fmt::format("{:04o}", entry.info.permissions)},
                {"size", entry.info.size},
                {"modified", time_text(entry.info.modified_ns)},
                {"modified_ns", entry.info.modified_ns},
            });
        }
        const nlohmann::ordered_json object{
            {"command", "ls"},
            {"uri", to_string(where_)},
            {"transport", fabric::to_string(properties.transport)},
            {"transport_reason", properties.transport_reason},
            {"entries", std::move(list)},
        };
        fmt::print("{}\n", object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
    }

    const list_arguments& arguments_;
    storage::uri where_;
    std::vector<listed_entry> entries_;
    bool is_file_ = false;
    bool failed_ = false;
};

} // namespace

exit_status run_list(const list_arguments& arguments)
{
    return list_command(arguments).run();
}

} // namespace penstock::command
