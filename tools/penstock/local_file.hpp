#pragma once

// Local files: read whole pieces, and create beneath a directory so that nothing half-written is ever seen under a name
// and no symbolic link leads out. All of it may block: call it on the file threads.

#include <penstock/core/error.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace penstock::command {

/// Owns a file descriptor.
class descriptor {
public:
    descriptor() = default;
    explicit descriptor(int value) noexcept
        : value_(value)
    {}
    descriptor(descriptor&& other) noexcept
        : value_(std::exchange(other.value_, -1))
    {}
    descriptor& operator=(descriptor&& other) noexcept
    {
        std::swap(value_, other.value_);
        return *this;
    }
    ~descriptor();

    explicit operator bool() const noexcept { return value_ >= 0; }
    int get() const noexcept { return value_; }

private:
    int value_ = -1;
};

struct file_status {
    std::uint64_t size = 0;
    std::uint32_t permissions = 0;
    std::int64_t modified_ns = 0;
};

/// A regular file opened for reading.
class source_file {
public:
    /// Errors: errno (ELOOP for a symbolic link); not_supported when it is no regular file (any more).
    static result<source_file> open(const std::string& path);

    const file_status& status() const noexcept { return status_; }

    /// Fills `into` from `offset`. Errors: errno; changed_underneath when the file ends before.
    error_code read(std::span<std::byte> into, std::uint64_t offset) const;

    /// changed_underneath if size or modification time are not what they were at open().
    error_code check_unchanged() const;

private:
    descriptor file_;
    file_status status_;
};

/// Opens DIRECTORY, making it and those above it when missing.
result<descriptor> open_destination(const std::string& directory);

/// Opens the directory `name` beneath `root` ("" is the root itself), no component followed when it is a symbolic link.
/// Missing ones are made when `make`.
/// Errors: ELOOP or ENOTDIR for a link; name_invalid for a name with an empty, "." or ".." component; errno.
result<descriptor> open_beneath(int root, std::string_view name, bool make);

/// Splits "a/b/c" into "a/b" and "c".
std::pair<std::string_view, std::string_view> split_name(std::string_view name) noexcept;

/// A file in the making. It has no name until commit(): destroying it before, or the end of the process, leaves nothing behind.
///
/// Where the file system cannot hold files without a name it has one that begins with ".penstock-get-", removed by the
/// destructor.
class new_file {
public:
    new_file() = default;
    new_file(new_file&& other) noexcept;
    new_file& operator=(new_file&& other) noexcept;
    ~new_file();

    /// Will be `name` beneath `root`, as in open_beneath; missing directories are made. Reserves `size` bytes, so that a full disk is found
    /// now. Errors: those of open_beneath, errno (ENOSPC).
    static result<new_file> create(int root, std::string_view name, std::uint64_t size);

    error_code write(std::span<const std::byte> bytes, std::uint64_t offset);

    /// Gives it its permissions and its name at once, replacing what has that name. On an error nothing has changed.
    error_code commit(std::uint32_t permissions);

    explicit operator bool() const noexcept { return static_cast<bool>(file_); }

private:
    error_code make_temporary();
    error_code link_under(const std::string& name);
    void discard() noexcept;

    descriptor directory_;
    descriptor file_;
    std::string name_;
    std::string temporary_; // empty: without a name
};

/// Makes the directory `name` beneath `root`; `made` is false if it was there before.
error_code make_directory_beneath(int root, std::string_view name, bool& made);

/// Sets a directory's permissions beneath `root`, as in open_beneath.
error_code set_directory_permissions(int root, std::string_view name, std::uint32_t permissions);

} // namespace penstock::command
