#include "storage/file_store.hpp"

#include "storage/messages.hpp"

#include <algorithm>
#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>

namespace penstock::storage {

// The smallest names seen so far that fill one page: a heap with the greatest on top.
struct file_store::candidates {
    std::size_t limit_bytes;
    std::size_t bytes = 0;
    std::vector<std::string> names;
    std::optional<std::string> dropped; // the smallest name that had no room; what follows it belongs to a later page

    bool wants(std::string_view name) const { return !dropped || name < *dropped; }

    void add(std::string_view name)
    {
        names.emplace_back(name);
        std::push_heap(names.begin(), names.end());
        bytes += entry_header_bytes + name.size();
        while (bytes > limit_bytes) {
            std::pop_heap(names.begin(), names.end());
            bytes -= entry_header_bytes + names.back().size();
            dropped = std::move(names.back());
            names.pop_back();
        }
    }
};

result<list_page> file_store::list(std::string_view directory, std::string_view after, std::size_t limit_bytes) const
{
    if (limit_bytes < entry_bytes_max)
        return errc::invalid_argument;
    if (!is_valid_name(directory))
        return errc::name_invalid;
    const std::string name(directory);
    std::string from(after);
    for (;;) {
        const auto fd = open_beneath(root_.get(), name, O_RDONLY | O_DIRECTORY);
        if (!fd)
            return fd.error();
        candidates page{limit_bytes, 0, {}, {}};
        if (const auto failure = collect(name, fd->get(), from, page))
            return failure;
        auto described = describe(fd->get(), name, page);
        described.more = page.dropped.has_value();
        // Everything on the page went away meanwhile: an empty page that is not the last would say nothing to its reader.
        if (!described.entries.empty() || !described.more)
            return described;
        from = page.names.back();
    }
}

error_code file_store::collect(const std::string& directory, int fd, std::string_view after, candidates& page) const
{
    auto readable = open_at(fd, ".", O_RDONLY | O_DIRECTORY);
    if (!readable)
        return file_error(readable.error().value());
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(readable->get()), ::closedir);
    if (!stream)
        return file_error(errno);
    const auto own = status_of(readable->release());
    if (!own)
        return own.error();
    // By identity, not by name: a link may lead back to the root.
    const bool is_root = own->identity.device == root_identity_.device && own->identity.inode == root_identity_.inode;
    for (;;) {
        errno = 0;
        const auto* entry = ::readdir(stream.get());
        if (entry == nullptr && errno != 0)
            return file_error(errno);
        if (entry == nullptr)
            return {};
        const std::string_view name = entry->d_name;
        if (name <= after || !page.wants(name) || !is_valid_entry_name(name) || (is_root && !is_valid_name(name)))
            continue;
        if (is_listed(fd, directory, entry->d_name, entry->d_type))
            page.add(name);
    }
}

bool file_store::is_listed(int fd, const std::string& directory, const char* component, unsigned char type) const
{
    if (type == DT_REG || type == DT_DIR)
        return true;
    return (type == DT_LNK || type == DT_UNKNOWN) && status_of_entry(fd, directory, component).has_value();
}

list_page file_store::describe(int fd, const std::string& directory, candidates& page) const
{
    std::sort_heap(page.names.begin(), page.names.end());
    list_page described;
    described.entries.reserve(page.names.size());
    for (const auto& name : page.names)
        if (const auto status = status_of_entry(fd, directory, name.c_str()))
            described.entries.push_back({name, status->info});
    return described;
}

result<file_status> file_store::status_of_entry(int fd, const std::string& directory, const char* component) const
{
    struct ::stat raw {};
    if (::fstatat(fd, component, &raw, AT_SYMLINK_NOFOLLOW) != 0)
        return file_error(errno);
    if (!S_ISLNK(raw.st_mode))
        return status_of(raw);
    // A link is judged against the root: from its own directory it may lead up and still stay inside.
    const auto target = open_beneath(root_.get(), directory.empty() ? component : directory + '/' + component, O_PATH);
    if (!target)
        return target.error();
    const auto status = status_of(target->get());
    if (status && status->info.kind == object_kind::directory && leads_back(directory, status->identity))
        return errc::not_found;
    return status;
}

// Whether a link in `directory` leads to that or to one that is on the way to it. Who walks the tree would never end, or with two
// such links end only after 2^40 directories, which is when the kernel refuses the name.
bool file_store::leads_back(const std::string& directory, const file_identity& target) const
{
    const auto is_target
        = [&](const file_identity& other) { return other.device == target.device && other.inode == target.inode; };
    if (is_target(root_identity_))
        return true;
    for (auto end = directory.find('/'); !directory.empty(); end = directory.find('/', end + 1)) {
        const auto above = open_beneath(root_.get(), directory.substr(0, end), O_PATH);
        const auto status = above ? status_of(above->get()) : above.error();
        if (!status || is_target(status->identity))
            return true; // what cannot be looked at any more has been renamed: as good as gone
        if (end == std::string::npos)
            break;
    }
    return false;
}

} // namespace penstock::storage
