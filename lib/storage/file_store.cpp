#include "storage/file_store.hpp"

#include "storage/messages.hpp"

#include <algorithm>
#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

namespace penstock::storage {
namespace {

constexpr const char* staging_name = ".penstock-staging";

bool is_in_range(std::uint64_t offset, std::size_t length) noexcept
{
    return length <= object_bytes_max && offset <= object_bytes_max - length;
}

// A directory that this process may not write, for whatever reason.
bool is_read_only_errno(int errno_value) noexcept
{
    return errno_value == EROFS || errno_value == EACCES || errno_value == EPERM;
}

} // namespace

result<std::size_t> read_at(int fd, std::uint64_t offset, std::span<std::byte> into) noexcept
{
    if (!is_in_range(offset, into.size()))
        return errc::out_of_range;
    std::size_t done = 0;
    while (done != into.size()) {
        const auto chunk = std::min(into.size() - done, transfer_bytes_max);
        const auto got = ::pread(fd, into.data() + done, chunk, static_cast<off_t>(offset + done));
        if (got > 0)
            done += static_cast<std::size_t>(got);
        else if (got == 0)
            break;
        else if (errno != EINTR)
            return file_error(errno);
    }
    return done;
}

result<cached_read> try_read_cached(int fd, std::uint64_t offset, std::span<std::byte> into) noexcept
{
    if (!is_in_range(offset, into.size()))
        return errc::out_of_range;
    cached_read read;
    while (read.bytes != into.size()) {
        const iovec rest{into.data() + read.bytes, std::min(into.size() - read.bytes, transfer_bytes_max)};
        const auto got = ::preadv2(fd, &rest, 1, static_cast<off_t>(offset + read.bytes), RWF_NOWAIT);
        if (got > 0)
            read.bytes += static_cast<std::size_t>(got);
        else if (got == 0)
            break;
        else if (errno == EAGAIN || errno == EOPNOTSUPP)
            return read;
        else if (errno != EINTR)
            return file_error(errno);
    }
    read.complete = true;
    return read;
}

bool changed(const file_identity& identity, int fd) noexcept
{
    const auto now = status_of(fd);
    return !now || now->identity != identity;
}

file_store::file_store(unique_fd root, const file_identity& identity) noexcept
    : root_(std::move(root))
    , root_identity_(identity)
{}

result<std::unique_ptr<file_store>> file_store::open(const std::string& root, random_source& random)
{
    auto directory = open_at(AT_FDCWD, root.c_str(), O_PATH | O_DIRECTORY);
    if (!directory)
        return directory.error();
    struct ::stat raw {};
    if (::fstat(directory->get(), &raw) != 0 || ::faccessat(directory->get(), ".", X_OK, AT_EACCESS) != 0)
        return make_system_error(errno);
    const auto status = status_of(raw);
    if (!status)
        return status.error();
    errno = 0;
    if (!open_beneath(directory->get(), std::string(), O_PATH | O_DIRECTORY))
        return make_system_error(errno != 0 ? errno : EIO);

    std::unique_ptr<file_store> store(new file_store(std::move(*directory), status->identity));
    if (const auto failure = store->open_staging(random))
        return failure;
    return store;
}

error_code file_store::open_staging(random_source& random)
{
    if (::mkdirat(root_.get(), staging_name, 0700) != 0 && errno != EEXIST)
        return is_read_only_errno(errno) ? error_code() : make_system_error(errno);
    auto staging = open_at(root_.get(), staging_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!staging)
        return is_read_only_errno(staging.error().value()) ? error_code() : staging.error();
    if (::faccessat(staging->get(), ".", W_OK | X_OK, AT_EACCESS) != 0)
        return is_read_only_errno(errno) ? error_code() : make_system_error(errno);
    if (::flock(staging->get(), LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? make_error_code(errc::wrong_state) : make_system_error(errno);
    staging_ = std::make_shared<const unique_fd>(std::move(*staging));

    constexpr std::string_view digits = "0123456789abcdef";
    for (auto bits = random.next(); staged_prefix_.size() != 16; bits >>= 4U)
        staged_prefix_.push_back(digits[bits & 15U]);
    staged_prefix_.push_back('-');
    clear_staging();
    return {};
}

// What cannot be removed is left: the names of this run differ from those of every other.
void file_store::clear_staging() const
{
    auto readable = open_at(staging_->get(), ".", O_RDONLY | O_DIRECTORY);
    if (!readable)
        return;
    const std::unique_ptr<DIR, int (*)(DIR*)> directory(::fdopendir(readable->get()), ::closedir);
    if (!directory)
        return;
    const int fd = readable->release();
    while (const auto* entry = ::readdir(directory.get())) {
        const std::string_view name = entry->d_name;
        if (name != "." && name != "..")
            ::unlinkat(fd, entry->d_name, 0);
    }
}

result<open_file> file_store::open_read(std::string_view name) const
{
    if (!is_valid_name(name))
        return errc::name_invalid;
    // O_NONBLOCK: a FIFO opens at once, to be refused below; a file does not care.
    auto fd = open_beneath(root_.get(), std::string(name), O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (!fd)
        return fd.error();
    const auto status = status_of(fd->get());
    if (!status)
        return status.error();
    return open_file{std::move(*fd), status->info, status->identity};
}

result<file_status> file_store::stat(std::string_view name) const
{
    if (!is_valid_name(name))
        return errc::name_invalid;
    const auto fd = open_beneath(root_.get(), std::string(name), O_PATH);
    if (!fd)
        return fd.error();
    return status_of(fd->get());
}

} // namespace penstock::storage
