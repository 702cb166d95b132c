#include "report.hpp"

#include "failure.hpp"

#include <penstock/core/byte_size.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace penstock::command {

const char* to_string(storage::checksum_mode mode) noexcept
{
    return mode == storage::checksum_mode::off ? "off" : "crc32c";
}

void report::take_transport(const storage::client::properties& properties)
{
    transport = fabric::to_string(properties.transport);
    transport_reason = properties.transport_reason;
    checksum = to_string(properties.checksum);
}

std::string report::to_json() const
{
    auto list = nlohmann::ordered_json::array();
    for (const auto& error : errors) {
        list.push_back({{"file", error.file}, {"message", error.message}});
    }
    const nlohmann::ordered_json object{
        {"command", command},
        {"files", files},
        {"bytes", bytes},
        {"directories", directories},
        {"links_skipped", links_skipped},
        {"others_skipped", others_skipped},
        {"seconds", seconds},
        {"bytes_per_second", bytes_per_second()},
        {"transport", transport},
        {"transport_reason", transport_reason},
        {"checksum", checksum},
        {"errors", std::move(list)},
        {"error_count", error_count},
    };
    return object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string report::to_line() const
{
    std::string line = fmt::format("{}: {} {}, {} in {:.2f}s ({})", command, files, files == 1 ? "file" : "files",
        format_byte_size(bytes), seconds, format_byte_rate(bytes_per_second()));
    const auto add = [&](std::uint64_t count, const char* one, const char* many) {
        if (count != 0) {
            line += fmt::format(", {} {}", count, count == 1 ? one : many);
        }
    };
    add(directories, "directory", "directories");
    add(links_skipped, "link skipped", "links skipped");
    add(others_skipped, "special file skipped", "special files skipped");
    add(error_count, "error", "errors");
    if (transport.empty()) {
        return line + "; no connection was made";
    }
    return line + fmt::format("; {} ({}), checksum {}", transport, transport_reason, checksum);
}

void report_error(report& into, progress_meter& meter, const std::string& file, const std::string& message)
{
    ++into.error_count;
    if (into.errors.size() < report::errors_kept) {
        into.errors.push_back({file, message});
    }
    if (into.error_count <= report::errors_shown) {
        meter.line(file.empty() ? fmt::format("penstock {}: {}", into.command, message)
                                : fmt::format("penstock {}: {}: {}", into.command, printable(file), message));
    }
}

void report_rest(const report& from, progress_meter& meter)
{
    if (from.error_count > report::errors_shown) {
        meter.line(
            fmt::format("penstock {}: and {} more errors", from.command, from.error_count - report::errors_shown));
    }
}

} // namespace penstock::command
