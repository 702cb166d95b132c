#include "tree_walk.hpp"

#include <penstock/storage/object.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

namespace penstock::command {
namespace {

struct close_directory {
    void operator()(DIR* open) const noexcept { ::closedir(open); }
};
using directory_stream = std::unique_ptr<DIR, close_directory>;

struct free_text {
    void operator()(char* text) const noexcept { std::free(text); }
};

std::optional<std::string> real_path(const std::string& path)
{
    const std::unique_ptr<char, free_text> found(::realpath(path.c_str(), nullptr));
    return found ? std::optional<std::string>(found.get()) : std::nullopt;
}

using directory_id = std::pair<dev_t, ino_t>;

class walker {
public:
    walker(put_plan& plan, bool follow)
        : plan_(plan)
        , follow_(follow)
    {}

    void source(const copy_pair& pair)
    {
        struct stat status {};
        if (::stat(pair.from.c_str(), &status) != 0) {
            fail(pair.from, errno);
            return;
        }
        if (S_ISDIR(status.st_mode)) {
            root_ = follow_ ? real_path(pair.from).value_or(std::string()) : std::string();
            entry(pair.from, pair.to, status);
            return;
        }
        // Files are opened without following a link: this one is resolved here.
        struct stat itself {};
        const bool is_link = ::lstat(pair.from.c_str(), &itself) == 0 && S_ISLNK(itself.st_mode);
        entry(is_link ? real_path(pair.from).value_or(pair.from) : pair.from, pair.to, status);
    }

private:
    // True when something of it will exist at the server.
    bool entry(const std::string& path, const std::string& name, const struct stat& status)
    {
        if (!name.empty() && !storage::is_valid_name(name)) {
            plan_.failed.push_back({path, errc::name_invalid,
                "the server cannot hold this name (longer than 4000 bytes, or \".penstock\" at the top)"});
            return false;
        }
        if (S_ISDIR(status.st_mode)) {
            return directory(path, name, status);
        }
        if (S_ISREG(status.st_mode)) {
            if (name.empty()) {
                plan_.failed.push_back({path, errc::name_invalid, "a file needs a name at the server"});
                return false;
            }
            const auto size = static_cast<std::uint64_t>(status.st_size);
            plan_.files.push_back({path, name, size});
            plan_.bytes += size;
            return true;
        }
        if (S_ISLNK(status.st_mode)) {
            return link(path, name);
        }
        skip(path, skip_reason::special_file);
        return false;
    }

    bool link(const std::string& path, const std::string& name)
    {
        if (!follow_) {
            return skip(path, skip_reason::symbolic_link);
        }
        const auto target = real_path(path);
        struct stat status {};
        if (!target || ::stat(target->c_str(), &status) != 0) {
            return skip(path, skip_reason::link_broken);
        }
        const bool inside = root_ == "/" || *target == root_ || target->starts_with(root_ + '/');
        if (root_.empty() || !inside) {
            return skip(path, skip_reason::link_outside);
        }
        const directory_id id{status.st_dev, status.st_ino};
        if (S_ISDIR(status.st_mode) && std::find(within_.begin(), within_.end(), id) != within_.end()) {
            return skip(path, skip_reason::link_loop);
        }
        return entry(*target, name, status);
    }

    bool directory(const std::string& path, const std::string& name, const struct stat& status)
    {
        auto names = list(path);
        if (!names) {
            return false;
        }
        ++plan_.directories;
        within_.emplace_back(status.st_dev, status.st_ino);
        bool any = false;
        for (const auto& child : *names) {
            const std::string child_path = path.ends_with('/') ? path + child : path + '/' + child;
            struct stat child_status {};
            if (::lstat(child_path.c_str(), &child_status) != 0) {
                fail(child_path, errno);
                continue;
            }
            any = entry(child_path, join_name(name, child), child_status) || any;
        }
        within_.pop_back();
        if (!any && !name.empty()) {
            plan_.empty_directories.push_back(name);
        }
        return any || !name.empty();
    }

    std::optional<std::vector<std::string>> list(const std::string& path)
    {
        const directory_stream open(::opendir(path.c_str()));
        if (!open) {
            fail(path, errno);
            return std::nullopt;
        }
        std::vector<std::string> names;
        errno = 0;
        while (const dirent* next = ::readdir(open.get())) {
            const std::string_view name = static_cast<const char*>(next->d_name);
            if (name != "." && name != "..") {
                names.emplace_back(name);
            }
            errno = 0;
        }
        if (errno != 0) {
            fail(path, errno);
            return std::nullopt;
        }
        std::sort(names.begin(), names.end());
        return names;
    }

    bool skip(const std::string& path, skip_reason reason)
    {
        plan_.skipped.push_back({path, reason});
        ++(reason == skip_reason::special_file ? plan_.others_skipped : plan_.links_skipped);
        return false;
    }

    void fail(const std::string& path, int errno_value)
    {
        plan_.failed.push_back({path, make_system_error(errno_value), {}});
    }

    put_plan& plan_;
    bool follow_;
    std::string root_; // of the source being walked, without links; empty: nothing is followed
    std::vector<directory_id> within_;
};

} // namespace

const char* to_string(skip_reason reason) noexcept
{
    switch (reason) {
    case skip_reason::symbolic_link: return "symbolic link (--follow follows those that stay inside the tree)";
    case skip_reason::link_outside: return "symbolic link that leaves the tree";
    case skip_reason::link_loop: return "symbolic link to a directory it is in";
    case skip_reason::link_broken: return "symbolic link that leads nowhere";
    case skip_reason::special_file: return "fifo, socket or device";
    }
    return "unknown";
}

put_plan walk_trees(const std::vector<copy_pair>& sources, bool follow)
{
    put_plan plan;
    for (const auto& source : sources) {
        walker(plan, follow).source(source);
    }
    return plan;
}

} // namespace penstock::command
