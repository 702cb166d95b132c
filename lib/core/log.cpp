#include <penstock/core/log.hpp>

#include <fmt/format.h>

#include <iterator>

namespace penstock {

std::string_view to_string(log_level level) noexcept
{
    switch (level) {
    case log_level::trace: return "trace";
    case log_level::debug: return "debug";
    case log_level::info: return "info";
    case log_level::warning: return "warning";
    case log_level::error: return "error";
    case log_level::off: return "off";
    }
    return "unknown";
}

std::string to_string(const log_record& record)
{
    std::string text(record.message);
    const char* separator = " (";
    const auto add = [&](std::string_view name, const auto& value) {
        fmt::format_to(std::back_inserter(text), "{}{} {}", separator, name, value);
        separator = ", ";
    };
    const auto& about = record.about;
    if (!about.peer.empty())
        add("peer", about.peer);
    if (about.lane >= 0)
        add("lane", about.lane);
    if (about.queue_pair != 0)
        add("queue pair", about.queue_pair);
    if (about.epoch != 0)
        add("epoch", about.epoch);
    if (separator[0] == ',')
        text += ')';
    return text;
}

} // namespace penstock
