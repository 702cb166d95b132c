#include "naming.hpp"

#include "failure.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace penstock::command {
namespace {

std::string_view without_trailing_slashes(std::string_view path)
{
    while (path.size() > 1 && path.ends_with('/')) {
        path.remove_suffix(1);
    }
    return path;
}

void refuse_collisions(const std::vector<copy_pair>& pairs)
{
    std::set<std::string_view> seen;
    for (const auto& pair : pairs) {
        if (!pair.to.empty() && !seen.insert(pair.to).second) {
            throw failure(exit_status::usage,
                fmt::format("two sources would both be named '{}': copy them one at a time", printable(pair.to)));
        }
    }
}

} // namespace

std::string base_name(std::string_view path)
{
    path = without_trailing_slashes(path);
    const auto name = path.substr(path.rfind('/') + 1);
    return name == "." || name == ".." ? std::string() : std::string(name);
}

std::string join_name(std::string_view directory, std::string_view name)
{
    if (directory.empty() || name.empty()) {
        return std::string(directory.empty() ? name : directory);
    }
    std::string joined(directory);
    joined += '/';
    joined += name;
    return joined;
}

std::vector<copy_pair> name_put(const std::vector<std::string>& sources, const storage::uri& target)
{
    const bool into = sources.size() > 1 || target.names_directory || target.name.empty();
    std::vector<copy_pair> pairs;
    for (const auto& source : sources) {
        if (source.empty()) {
            throw failure(exit_status::usage, "a source with an empty name: nothing to put");
        }
        pairs.push_back({source, into ? join_name(target.name, base_name(source)) : target.name});
    }
    refuse_collisions(pairs);
    return pairs;
}

destination name_get(const std::vector<storage::uri>& sources, std::string_view path, bool is_directory)
{
    if (path.empty()) {
        throw failure(exit_status::usage, "the destination is empty: write . for the current directory");
    }
    const auto& server = sources.front();
    const bool one_server = std::all_of(sources.begin(), sources.end(),
        [&](const storage::uri& other) { return other.host == server.host && other.port == server.port; });
    if (!one_server) {
        throw failure(exit_status::usage, "all URIs of one command must be at the same server");
    }
    destination found;
    const bool into = sources.size() > 1 || is_directory || path.ends_with('/');
    std::string new_name;
    if (into) {
        found.directory = without_trailing_slashes(path);
    } else {
        new_name = base_name(path);
        const auto slash = path.rfind('/');
        found.directory = slash == std::string_view::npos ? "." : slash == 0 ? "/" : std::string(path.substr(0, slash));
    }
    for (const auto& source : sources) {
        found.pairs.push_back({source.name, into ? base_name(source.name) : new_name});
    }
    refuse_collisions(found.pairs);
    return found;
}

} // namespace penstock::command
