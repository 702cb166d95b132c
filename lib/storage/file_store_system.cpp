#include "storage/file_store_system.hpp"

#include "storage/messages.hpp"

#include <cerrno>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace penstock::storage {
namespace {

// openat2 gives up with EAGAIN when something was renamed while it walked; only a rename storm fails this often.
constexpr int resolve_tries_max = 16;

std::int64_t nanoseconds(const timespec& time) noexcept
{
    // A file system may hand out any second; what 64 bits of nanoseconds cannot say becomes the nearest that they can.
    std::int64_t value = 0;
    if (__builtin_mul_overflow(std::int64_t{time.tv_sec}, std::int64_t{1'000'000'000}, &value)
        || __builtin_add_overflow(value, std::int64_t{time.tv_nsec}, &value))
        return time.tv_sec < 0 ? INT64_MIN : INT64_MAX;
    return value;
}

} // namespace

unique_fd::~unique_fd()
{
    if (fd_ >= 0)
        ::close(fd_);
}

errc file_error(int errno_value) noexcept
{
    switch (errno_value) {
    case ENOENT: return errc::not_found;
    case EACCES:
    case EPERM:
    case EROFS:
    case ENXIO: // a socket, or a device that is not there
    case ENODEV: return errc::permission_denied;
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return errc::no_space;
    case EISDIR: return errc::is_directory;
    case ENOTDIR: return errc::not_directory;
    case ENAMETOOLONG: return errc::name_invalid;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN: return errc::overloaded;
    default: return errc::remote_io_error;
    }
}

result<file_status> status_of(const struct ::stat& raw) noexcept
{
    if (!S_ISREG(raw.st_mode) && !S_ISDIR(raw.st_mode))
        return errc::permission_denied;
    file_status status;
    status.identity = {raw.st_dev, raw.st_ino, static_cast<std::uint64_t>(raw.st_size), nanoseconds(raw.st_mtim),
        nanoseconds(raw.st_ctim)};
    status.info.kind = S_ISDIR(raw.st_mode) ? object_kind::directory : object_kind::file;
    status.info.size = S_ISDIR(raw.st_mode) ? 0 : status.identity.size;
    status.info.permissions = raw.st_mode & permissions_mask;
    status.info.modified_ns = status.identity.modified_ns;
    return status;
}

result<file_status> status_of(int fd) noexcept
{
    struct ::stat raw {};
    if (::fstat(fd, &raw) != 0)
        return file_error(errno);
    return status_of(raw);
}

result<unique_fd> open_beneath(int root, const std::string& name, int flags) noexcept
{
    open_how how{};
    how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    const char* path = name.empty() ? "." : name.c_str();
    for (int tries = 0; tries != resolve_tries_max;) {
        const auto fd = ::syscall(SYS_openat2, root, path, &how, sizeof how);
        if (fd >= 0)
            return unique_fd(static_cast<int>(fd));
        if (errno == EXDEV || errno == ELOOP)
            return errc::outside_root;
        if (errno != EAGAIN && errno != EINTR)
            return file_error(errno);
        tries += errno == EAGAIN ? 1 : 0;
    }
    return errc::overloaded;
}

result<unique_fd> open_at(int directory, const char* name, int flags) noexcept
{
    for (;;) {
        const int fd = ::openat(directory, name, flags | O_CLOEXEC);
        if (fd >= 0)
            return unique_fd(fd);
        if (errno != EINTR)
            return make_system_error(errno);
    }
}

error_code sync_directory(int directory) noexcept
{
    const auto readable = open_at(directory, ".", O_RDONLY | O_DIRECTORY);
    if (!readable)
        return file_error(readable.error().value());
    if (::fsync(readable->get()) != 0)
        return file_error(errno);
    return {};
}

std::pair<std::string, std::string> split_name(std::string_view name)
{
    const auto slash = name.rfind('/');
    if (slash == std::string_view::npos)
        return {std::string(), std::string(name)};
    return {std::string(name.substr(0, slash)), std::string(name.substr(slash + 1))};
}

} // namespace penstock::storage
