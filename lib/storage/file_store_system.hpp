#pragma once

// The system calls of the file backend: descriptors, names resolved beneath a root, errno as codes of this library.

#include <penstock/core/error.hpp>
#include <penstock/storage/object.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

struct stat;

namespace penstock::storage {

/// What one read or write may move; the kernel takes no more at once.
inline constexpr std::size_t transfer_bytes_max = 0x7ffff000;

/// Owns a file descriptor.
class unique_fd {
public:
    unique_fd() = default;
    explicit unique_fd(int fd) noexcept
        : fd_(fd)
    {}
    unique_fd(unique_fd&& other) noexcept
        : fd_(std::exchange(other.fd_, -1))
    {}
    unique_fd& operator=(unique_fd&& other) noexcept
    {
        unique_fd(std::move(other)).swap(*this);
        return *this;
    }
    ~unique_fd();

    int get() const noexcept { return fd_; }
    explicit operator bool() const noexcept { return fd_ >= 0; }
    /// The descriptor, which is now the caller's.
    int release() noexcept { return std::exchange(fd_, -1); }
    void swap(unique_fd& other) noexcept { std::swap(fd_, other.fd_); }

private:
    int fd_ = -1;
};

/// Which bytes a file had, as far as its file system tells.
///
/// A change that keeps the size and falls into the same tick of the kernel's clock (at most some milliseconds) is not seen
/// where the file system stamps changes with that tick. A file that was replaced is always told apart while the old
/// one is held open.
struct file_identity {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::uint64_t size = 0;
    std::int64_t modified_ns = 0;
    std::int64_t changed_ns = 0;

    friend bool operator==(const file_identity&, const file_identity&) = default;
};

struct file_status {
    object_info info;
    file_identity identity;
};

/// errno of a file operation as the code that a client is to see.
errc file_error(int errno_value) noexcept;

/// Files and directories only. Errors: permission_denied for anything else (FIFO, device, socket).
result<file_status> status_of(int fd) noexcept;
result<file_status> status_of(const struct ::stat& raw) noexcept;

/// openat2 below `root`: ".." and absolute names and links that lead out are refused by the kernel. "" is the root.
/// Errors: outside_root, overloaded (the tree was being renamed at each of a few tries), and those of file_error.
result<unique_fd> open_beneath(int root, const std::string& name, int flags) noexcept;

/// The system's own error: for the set-up, where the operator reads it.
result<unique_fd> open_at(int directory, const char* name, int flags) noexcept;

/// fsync of a directory, through a descriptor that may be O_PATH.
error_code sync_directory(int directory) noexcept;

/// All of `name` but its last component, "" for none, and that component.
std::pair<std::string, std::string> split_name(std::string_view name);

} // namespace penstock::storage
