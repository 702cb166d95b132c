#include <penstock/storage/object.hpp>

namespace penstock::storage {
namespace {

constexpr std::string_view reserved_prefix = ".penstock";

bool is_valid_component(std::string_view component) noexcept
{
    return !component.empty() && component.size() <= component_bytes_max && component != "." && component != ".."
        && component.find('\0') == std::string_view::npos;
}

} // namespace

bool is_valid_name(std::string_view name) noexcept
{
    if (name.empty())
        return true;
    if (name.size() > name_bytes_max || name.starts_with(reserved_prefix))
        return false;
    for (;;) {
        const auto slash = name.find('/');
        if (!is_valid_component(name.substr(0, slash)))
            return false;
        if (slash == std::string_view::npos)
            return true;
        name.remove_prefix(slash + 1);
    }
}

bool is_valid_entry_name(std::string_view name) noexcept
{
    return is_valid_component(name) && name.find('/') == std::string_view::npos;
}

} // namespace penstock::storage
