#include "conformance/expect.hpp"

#include <array>

namespace penstock::conformance {

namespace {

template <std::size_t Count, class Enumeration>
std::string name_of(const std::array<const char*, Count>& names, Enumeration value)
{
    const auto index = static_cast<std::size_t>(value);
    return index < Count ? names.at(index) : "unnamed value " + std::to_string(index);
}

std::string_view file_of(const where& place)
{
    const std::string_view path = place.file_name();
    const auto slash = path.rfind('/');
    return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

} // namespace

mismatch::mismatch(const std::string& text, const where& place)
    : std::runtime_error(std::string(file_of(place)) + ":" + std::to_string(place.line()) + ": " + text)
{}

void fail(const std::string& text, const where& place)
{
    throw mismatch(text, place);
}

void disappoint(std::string_view what, std::string_view wanted, std::string_view seen, const where& place)
{
    std::ostringstream text;
    text << what << ": expected " << wanted << ", seen " << seen;
    fail(text.str(), place);
}

void expect_error(std::string_view what, const error_code& seen, errc wanted, const where& place)
{
    if (seen != make_error_code(wanted))
        disappoint(what, describe(wanted), describe(seen), place);
}

std::string describe(fabric::completion_opcode value)
{
    static constexpr std::array names{"send", "write", "read", "compare_swap", "fetch_add", "bind_window",
        "local_invalidate", "receive", "receive_write_immediate"};
    return name_of(names, value);
}

std::string describe(fabric::queue_pair_state value)
{
    static constexpr std::array names{"init", "ready_to_receive", "ready_to_send", "error"};
    return name_of(names, value);
}

std::string describe(fabric::connection_event_type value)
{
    static constexpr std::array names{"resolved", "connect_request", "established", "rejected", "unreachable",
        "disconnected", "device_removed", "failed"};
    return name_of(names, value);
}

std::string describe(completion_status value)
{
    return std::string(to_string(value));
}

std::string describe(const error_code& value)
{
    return value ? value.message() + " (" + value.category().name() + " " + std::to_string(value.value()) + ")"
                 : "success";
}

std::string describe(errc value)
{
    return describe(make_error_code(value));
}

std::string describe(const fabric::work_completion& value)
{
    std::string text = "id " + std::to_string(value.id) + " " + describe(value.status);
    if (value.status == completion_status::success)
        text += ", " + describe(value.operation) + ", " + std::to_string(value.byte_count) + " bytes";
    else
        text += ", vendor error " + std::to_string(value.vendor_error);
    return text + ", queue pair " + std::to_string(value.queue_pair_number);
}

} // namespace penstock::conformance
