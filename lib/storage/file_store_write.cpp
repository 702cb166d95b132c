#include "storage/file_store.hpp"

#include "storage/messages.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace penstock::storage {
namespace {

// A name has fewer components than this, so no directory within the tree lies deeper.
constexpr std::size_t depth_max = name_bytes_max;

// Extents only: the size stays what was written, so a crash leaves no file that looks complete.
error_code reserve(int fd, std::uint64_t size) noexcept
{
    if (size == 0)
        return {};
    while (::fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(size)) != 0) {
        if (errno == EOPNOTSUPP || errno == ENOSYS)
            return {};
        if (errno != EINTR)
            return file_error(errno);
    }
    return {};
}

} // namespace

bool written_ranges::add(std::uint64_t offset, std::uint64_t length)
{
    if (length == 0)
        return true;
    auto start = offset;
    auto end = offset + length;
    auto next = end_of_.upper_bound(offset);
    if (next != end_of_.begin() && std::prev(next)->second >= start)
        --next;
    const bool joins = next != end_of_.end() && next->first <= end;
    if (!joins && end_of_.size() == ranges_max)
        return false;
    while (next != end_of_.end() && next->first <= end) {
        start = std::min(start, next->first);
        end = std::max(end, next->second);
        next = end_of_.erase(next);
    }
    end_of_.emplace_hint(next, start, end);
    return true;
}

bool written_ranges::covers(std::uint64_t size) const noexcept
{
    if (size == 0)
        return true;
    const auto first = end_of_.begin();
    return first != end_of_.end() && first->first == 0 && first->second >= size;
}

struct staged_file::body {
    std::shared_ptr<const unique_fd> staging;
    std::string staged_name; // in `staging`; empty once it is there no more
    unique_fd fd;
    std::string name;
    std::uint64_t size = 0;
    std::mutex mutex; // guards `written`
    written_ranges written;

    ~body()
    {
        if (!staged_name.empty())
            ::unlinkat(staging->get(), staged_name.c_str(), 0);
    }
};

staged_file::staged_file(std::unique_ptr<body> inside) noexcept
    : body_(std::move(inside))
{}
staged_file::staged_file() noexcept = default;
staged_file::staged_file(staged_file&&) noexcept = default;
staged_file& staged_file::operator=(staged_file&&) noexcept = default;
staged_file::~staged_file() = default;

std::uint64_t staged_file::size() const noexcept
{
    return body_->size;
}

const std::string& staged_file::name() const noexcept
{
    return body_->name;
}

error_code staged_file::write_at(std::uint64_t offset, std::span<const std::byte> from)
{
    if (offset > body_->size || from.size() > body_->size - offset)
        return errc::out_of_range;
    std::size_t done = 0;
    while (done != from.size()) {
        const auto chunk = std::min(from.size() - done, transfer_bytes_max);
        const auto put = ::pwrite(body_->fd.get(), from.data() + done, chunk, static_cast<off_t>(offset + done));
        if (put > 0)
            done += static_cast<std::size_t>(put);
        else if (put == 0)
            return errc::remote_io_error;
        else if (errno != EINTR)
            return file_error(errno);
    }
    const std::lock_guard lock(body_->mutex);
    return body_->written.add(offset, from.size()) ? error_code() : make_error_code(errc::overloaded);
}

// Seen early, so that nobody sends gigabytes for a name that cannot be taken; and once more before the rename.
error_code file_store::check_target(const std::string& name) const
{
    if (name.empty())
        return errc::is_directory;
    const auto taken = open_beneath(root_.get(), name, O_PATH);
    if (!taken)
        return taken.error() == errc::not_found ? error_code() : taken.error();
    const auto status = status_of(taken->get());
    if (!status)
        return status.error();
    return status->info.kind == object_kind::directory ? make_error_code(errc::is_directory) : error_code();
}

result<staged_file> file_store::stage(std::string_view name, std::uint64_t size, std::uint32_t permissions)
{
    if (!is_valid_name(name))
        return errc::name_invalid;
    if (size > object_bytes_max)
        return errc::out_of_range;
    if (read_only())
        return errc::permission_denied;
    auto body = std::make_unique<staged_file::body>();
    body->name = name;
    body->size = size;
    body->staging = staging_;
    if (const auto failure = check_target(body->name))
        return failure;
    const auto staged_name
        = fmt::format("{}{:x}", staged_prefix_, staged_count_.fetch_add(1, std::memory_order_relaxed));
    body->fd = unique_fd(::openat(staging_->get(), staged_name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!body->fd)
        return file_error(errno);
    body->staged_name = staged_name;
    if (::fchmod(body->fd.get(), permissions & permissions_mask) != 0)
        return file_error(errno);
    return staged_file(std::move(body));
}

result<staged_file> file_store::create(std::string_view name, std::uint64_t size, std::uint32_t permissions)
{
    auto object = stage(name, size, permissions);
    if (!object)
        return object;
    if (const auto failure = reserve(object->body_->fd.get(), size))
        return failure;
    return object;
}

error_code file_store::put(
    std::string_view name, std::uint32_t permissions, durability promise, std::span<const std::byte> bytes)
{
    auto object = stage(name, bytes.size(), permissions);
    if (!object)
        return object.error();
    if (const auto failure = object->write_at(0, bytes))
        return failure;
    return commit(std::move(*object), promise);
}

error_code file_store::commit(staged_file object, durability promise)
{
    if (!object)
        return errc::wrong_state;
    auto& body = *object.body_;
    {
        const std::lock_guard lock(body.mutex);
        if (!body.written.covers(body.size))
            return errc::wrong_state;
    }
    const auto written = status_of(body.fd.get());
    if (!written)
        return written.error();
    if (written->info.size != body.size)
        return errc::remote_io_error;
    if (const auto failure = check_target(body.name))
        return failure;
    // Not fdatasync: the permissions are part of the object.
    if (promise == durability::persisted && ::fsync(body.fd.get()) != 0)
        return file_error(errno);

    const auto [parent_name, leaf] = split_name(body.name);
    const auto parent = open_directory_making(parent_name);
    if (!parent)
        return parent.error();
    if (::renameat(body.staging->get(), body.staged_name.c_str(), parent->get(), leaf.c_str()) != 0)
        return errno == EXDEV ? make_error_code(errc::not_supported) : make_error_code(file_error(errno));
    body.staged_name.clear();
    return promise == durability::persisted ? sync_up(parent->get()) : error_code();
}

error_code file_store::make_directory(std::string_view name)
{
    if (!is_valid_name(name))
        return errc::name_invalid;
    if (name.empty())
        return {};
    if (read_only())
        return errc::permission_denied;
    const std::string whole(name);
    const auto made = open_directory_making(whole);
    if (made)
        return {};
    // The name itself is a file, or something above it is: the caller mends these in different ways.
    if (made.error() == errc::not_directory && open_beneath(root_.get(), whole, O_PATH))
        return errc::already_exists;
    return made.error();
}

// The directory `name`, made with all above it where they are missing. O_PATH.
result<unique_fd> file_store::open_directory_making(const std::string& name)
{
    auto found = open_beneath(root_.get(), name, O_PATH | O_DIRECTORY);
    if (found || found.error() != errc::not_found)
        return found;
    unique_fd here;
    for (std::size_t end = 0; end != std::string::npos;) {
        const auto start = end == 0 ? 0 : end + 1;
        end = name.find('/', start);
        auto next = enter_making(here ? here.get() : root_.get(), name.substr(start, end - start), name.substr(0, end));
        if (!next)
            return next;
        here = std::move(*next);
    }
    return here;
}

result<unique_fd> file_store::enter_making(int parent, const std::string& component, const std::string& name_so_far)
{
    const bool made = ::mkdirat(parent, component.c_str(), 0777) == 0;
    if (!made && errno != EEXIST)
        return file_error(errno);
    // Step by step, so the cost does not grow with the square of the depth; a link needs the root to be judged against.
    auto next = open_at(parent, component.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW);
    if (next) {
        if (made)
            forget_durable(next->get());
        return next;
    }
    auto linked = open_beneath(root_.get(), name_so_far, O_PATH | O_DIRECTORY);
    if (!linked && linked.error() == errc::not_found)
        return errc::not_directory; // a link to nothing
    return linked;
}

// A new directory may have the inode number of one that was removed.
void file_store::forget_durable(int directory)
{
    const auto status = status_of(directory);
    const std::lock_guard lock(durable_mutex_);
    if (status)
        durable_directories_.erase({status->identity.device, status->identity.inode});
}

// Makes durable an entry in `directory`, and the entries of the directories above it up to the root.
error_code file_store::sync_up(int directory)
{
    std::vector<directory_key> synced;
    unique_fd here;
    for (int fd = directory; synced.size() != depth_max; fd = here.get()) {
        if (const auto failure = sync_directory(fd))
            return failure;
        const auto status = status_of(fd);
        if (!status)
            return status.error();
        const directory_key key{status->identity.device, status->identity.inode};
        {
            const std::lock_guard lock(durable_mutex_);
            if (key == directory_key{root_identity_.device, root_identity_.inode} || durable_directories_.contains(key))
                break;
        }
        if (!synced.empty() && synced.back() == key)
            break; // the root of the file system: the directory was moved out of the tree meanwhile
        synced.push_back(key);
        auto above = open_at(fd, "..", O_PATH | O_DIRECTORY);
        if (!above)
            return file_error(above.error().value());
        here = std::move(*above);
    }
    const std::lock_guard lock(durable_mutex_);
    if (durable_directories_.size() + synced.size() > durable_directories_max)
        durable_directories_.clear();
    durable_directories_.insert(synced.begin(), synced.end());
    return {};
}

} // namespace penstock::storage
