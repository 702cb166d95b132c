#include "local_file.hpp"

#include <atomic>
#include <cerrno>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

namespace penstock::command {
namespace {

constexpr mode_t permission_bits = 0777;

error_code last_error()
{
    return make_system_error(errno);
}

result<file_status> status_of(int file)
{
    struct stat status {};
    if (::fstat(file, &status) != 0) {
        return last_error();
    }
    if (!S_ISREG(status.st_mode)) {
        return make_error_code(errc::not_supported);
    }
    return file_status{static_cast<std::uint64_t>(status.st_size),
        static_cast<std::uint32_t>(status.st_mode & permission_bits),
        std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec};
}

// A file without a name gets one through /proc; where that is not mounted it needs a name from the start.
bool can_link_unnamed()
{
    static const bool found = ::access("/proc/self/fd", X_OK) == 0;
    return found;
}

std::string temporary_name()
{
    static std::atomic<unsigned> counter{0};
    return fmt::format(".penstock-get-{}-{}", ::getpid(), counter.fetch_add(1));
}

// No component is empty, "." or "..": checked before anything is made.
bool is_clean(std::string_view name)
{
    for (;;) {
        const auto slash = name.find('/');
        const auto component = name.substr(0, slash);
        if (component.empty() || component == "." || component == "..") {
            return false;
        }
        if (slash == std::string_view::npos) {
            return true;
        }
        name.remove_prefix(slash + 1);
    }
}

// The parent of `name` beneath `root`, and its last component.
struct parent_and_name {
    descriptor parent;
    std::string name;
};

result<parent_and_name> open_parent(int root, std::string_view name)
{
    if (name.empty() || !is_clean(name)) {
        return make_error_code(errc::name_invalid);
    }
    const auto [directory, last] = split_name(name);
    auto parent = open_beneath(root, directory, true);
    if (!parent) {
        return parent.error();
    }
    return parent_and_name{std::move(*parent), std::string(last)};
}

result<descriptor> open_child(int parent, const std::string& name, bool make)
{
    constexpr int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    descriptor child(::openat(parent, name.c_str(), flags));
    if (!child && errno == ENOENT && make) {
        if (::mkdirat(parent, name.c_str(), permission_bits) != 0 && errno != EEXIST) {
            return last_error();
        }
        child = descriptor(::openat(parent, name.c_str(), flags));
    }
    if (!child) {
        return last_error();
    }
    return child;
}

} // namespace

descriptor::~descriptor()
{
    if (value_ >= 0) {
        ::close(value_);
    }
}

result<source_file> source_file::open(const std::string& path)
{
    // O_NONBLOCK: not to hang should it have become a fifo meanwhile.
    constexpr int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW;
    source_file opened;
    opened.file_ = descriptor(::open(path.c_str(), flags));
    if (!opened.file_) {
        return last_error();
    }
    auto status = status_of(opened.file_.get());
    if (!status) {
        return status.error();
    }
    opened.status_ = *status;
    return opened;
}

error_code source_file::read(std::span<std::byte> into, std::uint64_t offset) const
{
    while (!into.empty()) {
        const ssize_t count = ::pread(file_.get(), into.data(), into.size(), static_cast<off_t>(offset));
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return last_error();
        }
        if (count == 0) {
            return errc::changed_underneath;
        }
        into = into.subspan(static_cast<std::size_t>(count));
        offset += static_cast<std::uint64_t>(count);
    }
    return {};
}

error_code source_file::check_unchanged() const
{
    const auto now = status_of(file_.get());
    if (!now) {
        return now.error();
    }
    if (now->size != status_.size || now->modified_ns != status_.modified_ns) {
        return errc::changed_underneath;
    }
    return {};
}

std::pair<std::string_view, std::string_view> split_name(std::string_view name) noexcept
{
    const auto slash = name.rfind('/');
    if (slash == std::string_view::npos) {
        return {{}, name};
    }
    return {name.substr(0, slash), name.substr(slash + 1)};
}

result<descriptor> open_destination(const std::string& directory)
{
    // The user names this one: links in it are followed.
    for (std::size_t end = directory.find('/', 1);; end = directory.find('/', end + 1)) {
        const std::string part = directory.substr(0, end);
        if (::mkdir(part.c_str(), permission_bits) != 0 && errno != EEXIST && end == std::string::npos) {
            return last_error();
        }
        if (end == std::string::npos) {
            break;
        }
    }
    descriptor opened(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!opened) {
        return last_error();
    }
    return opened;
}

result<descriptor> open_beneath(int root, std::string_view name, bool make)
{
    if (!name.empty() && !is_clean(name)) {
        return make_error_code(errc::name_invalid);
    }
    descriptor at(::openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!at) {
        return last_error();
    }
    while (!name.empty()) {
        const auto slash = name.find('/');
        auto child = open_child(at.get(), std::string(name.substr(0, slash)), make);
        if (!child) {
            return child.error();
        }
        at = std::move(*child);
        name = slash == std::string_view::npos ? std::string_view() : name.substr(slash + 1);
    }
    return at;
}

new_file::new_file(new_file&& other) noexcept
    : directory_(std::move(other.directory_))
    , file_(std::move(other.file_))
    , name_(std::move(other.name_))
    , temporary_(std::exchange(other.temporary_, {}))
{}

new_file& new_file::operator=(new_file&& other) noexcept
{
    std::swap(directory_, other.directory_);
    std::swap(file_, other.file_);
    std::swap(name_, other.name_);
    std::swap(temporary_, other.temporary_);
    return *this;
}

new_file::~new_file()
{
    discard();
}

void new_file::discard() noexcept
{
    if (!temporary_.empty()) {
        ::unlinkat(directory_.get(), temporary_.c_str(), 0);
        temporary_.clear();
    }
}

error_code new_file::make_temporary()
{
    // Nobody else reads it before it is complete; commit() gives it its permissions.
    constexpr mode_t own = 0600;
    if (can_link_unnamed()) {
        file_ = descriptor(::openat(directory_.get(), ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, own));
        if (file_) {
            return {};
        }
        if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL) {
            return last_error();
        }
    }
    auto name = temporary_name();
    file_ = descriptor(
        ::openat(directory_.get(), name.c_str(), O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC, own));
    if (!file_) {
        return last_error();
    }
    temporary_ = std::move(name);
    return {};
}

result<new_file> new_file::create(int root, std::string_view name, std::uint64_t size)
{
    auto where = open_parent(root, name);
    if (!where) {
        return where.error();
    }
    new_file made;
    made.directory_ = std::move(where->parent);
    made.name_ = std::move(where->name);
    if (const auto ec = made.make_temporary()) {
        return ec;
    }
    const bool refused = size != 0 && ::fallocate(made.file_.get(), 0, 0, static_cast<off_t>(size)) != 0;
    if (refused && errno != EOPNOTSUPP && errno != ENOSYS) {
        return last_error();
    }
    return made;
}

error_code new_file::write(std::span<const std::byte> bytes, std::uint64_t offset)
{
    while (!bytes.empty()) {
        const ssize_t count = ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return last_error();
        }
        bytes = bytes.subspan(static_cast<std::size_t>(count));
        offset += static_cast<std::uint64_t>(count);
    }
    return {};
}

error_code new_file::link_under(const std::string& name)
{
    const std::string self = fmt::format("/proc/self/fd/{}", file_.get());
    if (::linkat(AT_FDCWD, self.c_str(), directory_.get(), name.c_str(), AT_SYMLINK_FOLLOW) != 0) {
        return last_error();
    }
    return {};
}

error_code new_file::commit(std::uint32_t permissions)
{
    if (::fchmod(file_.get(), static_cast<mode_t>(permissions) & permission_bits) != 0) {
        return last_error();
    }
    if (temporary_.empty()) {
        // A link cannot replace: what exists is replaced by a rename of a second name, which lives for a moment.
        const auto direct = link_under(name_);
        if (!direct) {
            return {};
        }
        if (direct != boost::system::errc::file_exists) {
            return direct;
        }
        auto second = temporary_name();
        if (const auto ec = link_under(second)) {
            return ec;
        }
        temporary_ = std::move(second);
    }
    if (::renameat(directory_.get(), temporary_.c_str(), directory_.get(), name_.c_str()) != 0) {
        const auto ec = last_error();
        discard();
        return ec;
    }
    temporary_.clear();
    return {};
}

error_code make_directory_beneath(int root, std::string_view name, bool& made)
{
    auto where = open_parent(root, name);
    if (!where) {
        return where.error();
    }
    // Writable until its contents are complete; set_directory_permissions ends that.
    made = ::mkdirat(where->parent.get(), where->name.c_str(), permission_bits) == 0;
    if (!made && errno != EEXIST) {
        return last_error();
    }
    const auto opened = open_beneath(root, name, false);
    return opened ? error_code() : opened.error();
}

error_code set_directory_permissions(int root, std::string_view name, std::uint32_t permissions)
{
    auto opened = open_beneath(root, name, false);
    if (!opened) {
        return opened.error();
    }
    if (::fchmod(opened->get(), static_cast<mode_t>(permissions) & permission_bits) != 0) {
        return last_error();
    }
    return {};
}

} // namespace penstock::command
