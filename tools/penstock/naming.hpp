#pragma once

// Which name a copy gets: as cp does it.

#include <penstock/storage/uri.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace penstock::command {

/// The last component of a path, trailing '/' ignored; "" for "/", "." and "..", which have no name of their own: their
/// contents are meant.
std::string base_name(std::string_view path);

/// "directory/name", or the one that is not empty.
std::string join_name(std::string_view directory, std::string_view name);

/// One source and the name its copy gets.
struct copy_pair {
    std::string from; ///< put: a local path; get: a name at the server
    std::string to;   ///< put: a name at the server; get: a name beneath `destination::directory`
    bool operator==(const copy_pair&) const = default;
};

/// With several sources, or a URI that ends in '/', each goes into that directory under its base name; else the URI is the
/// new name. Throws usage when two sources would get the same name.
std::vector<copy_pair> name_put(const std::vector<std::string>& sources, const storage::uri& target);

struct destination {
    std::string directory; ///< made when missing; everything is created beneath it
    std::vector<copy_pair> pairs;
};

/// Into `path` when it is an existing directory (`is_directory`), ends in '/', or when there are several sources; else `path` is the
/// new name. All sources must be at one server. Throws usage.
destination name_get(const std::vector<storage::uri>& sources, std::string_view path, bool is_directory);

} // namespace penstock::command
