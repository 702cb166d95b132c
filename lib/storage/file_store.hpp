#pragma once

// A directory tree as an object store: synchronous, on POSIX files.

#include "storage/file_store_system.hpp"

#include <penstock/core/error.hpp>
#include <penstock/core/random.hpp>
#include <penstock/storage/object.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace penstock::storage {

/// An object opened for reading, or a directory (`info.kind` tells).
struct open_file {
    unique_fd fd;
    object_info info;
    file_identity identity; ///< what `info` was read with
};

/// How much of a read the page cache answered.
struct cached_read {
    std::size_t bytes = 0; ///< from the start of the span
    bool complete = false; ///< the span is full or the file ended; else the rest would block
};

/// Bytes from `offset` on, fewer than asked only at the file's end. Blocks. *Threads.* Any.
/// *Errors.* out_of_range (beyond 2^63 - 1), remote_io_error, is_directory.
result<std::size_t> read_at(int fd, std::uint64_t offset, std::span<std::byte> into) noexcept;

/// The same without waiting for a disk: what the page cache has. A file system that cannot tell has nothing.
result<cached_read> try_read_cached(int fd, std::uint64_t offset, std::span<std::byte> into) noexcept;

/// Whether `fd` is not, or not any more, the file that `identity` was taken from. One system call.
bool changed(const file_identity& identity, int fd) noexcept;

/// Which bytes of an object were written: at most `ranges_max` ranges apart from each other.
class written_ranges {
public:
    static constexpr std::size_t ranges_max = 4096;

    /// False when the range would be one too many; then nothing was added.
    bool add(std::uint64_t offset, std::uint64_t length);
    bool covers(std::uint64_t size) const noexcept;

private:
    std::map<std::uint64_t, std::uint64_t> end_of_; // start -> end, disjoint and not touching
};

/// An object being written, in the staging directory; dropped with its bytes unless committed.
///
/// *Threads.* write_at from any, also at the same time; the rest one at a time.
class staged_file {
public:
    staged_file() noexcept;
    staged_file(staged_file&&) noexcept;
    staged_file& operator=(staged_file&&) noexcept;
    ~staged_file();

    /// *Errors.* out_of_range (beyond the size), no_space, remote_io_error, overloaded (too many separate ranges).
    error_code write_at(std::uint64_t offset, std::span<const std::byte> from);

    std::uint64_t size() const noexcept;
    const std::string& name() const noexcept;
    explicit operator bool() const noexcept { return body_ != nullptr; }

private:
    friend class file_store;
    struct body;

    explicit staged_file(std::unique_ptr<body> inside) noexcept;

    std::unique_ptr<body> body_;
};

/// *Threads.* Any, also at the same time: the file system orders what meets at one name.
///
/// *Errors.* common to all: name_invalid, outside_root, not_found, not_directory, permission_denied, overloaded (descriptors or
/// memory ran out; or the tree is being renamed), remote_io_error.
class file_store {
public:
    /// Opens the tree, locks its staging directory, and removes what a crashed server left there.
    ///
    /// Where the staging directory cannot be made or written, the store is read_only(). `random` names staged files and is not
    /// kept. *Errors.* errno for the root (system category; ENOSYS without openat2, Linux 5.6); wrong_state when
    /// another server has the tree.
    static result<std::unique_ptr<file_store>> open(
        const std::string& root, random_source& random = system_random_source());

    file_store(const file_store&) = delete;
    file_store& operator=(const file_store&) = delete;
    ~file_store() = default;

    bool read_only() const noexcept { return staging_ == nullptr; }

    /// Never waits for a FIFO's other end. *Errors.* permission_denied also for what is neither file nor directory.
    result<open_file> open_read(std::string_view name) const;

    result<file_status> stat(std::string_view name) const;

    /// Begins an object of `size` bytes; space for them is reserved where the file system can, so a full disk shows here.
    /// `permissions` are taken as they are, whatever the umask. *Errors.* no_space, is_directory; permission_denied also
    /// when read_only() or when the name is taken by neither file nor directory.
    result<staged_file> create(std::string_view name, std::uint64_t size, std::uint32_t permissions);

    /// Moves the object to its name, in place of what has it, in one step for every reader. Missing directories are made.
    ///
    /// *Completion means* visible; with durability::persisted durable as well: the file, its entry, and the entries of the
    /// directories above it. After an error the name is as it was, the staged bytes are gone, directories that were made
    /// stay; only when the last sync failed the new object is visible but perhaps not durable.
    /// *Errors.* wrong_state when not every byte was written, is_directory.
    error_code commit(staged_file object, durability promise);

    /// create, write_at and commit at once.
    error_code put(
        std::string_view name, std::uint32_t permissions, durability promise, std::span<const std::byte> bytes);

    /// Makes a directory and those above it. *Completion means* visible. *Errors.* already_exists: the name is not a directory.
    error_code make_directory(std::string_view name);

    /// Entries after `after`, in byte order, as many as encode_entries fits into `limit_bytes`.
    ///
    /// Files, directories, and links to such within the tree; links that lead back to a directory on the way to this one
    /// and the reserved names of the root are left out. One pass
    /// over the directory for each page, memory bounded by the page. An entry that appears or goes meanwhile may be in or not.
    /// *Errors.* invalid_argument when `limit_bytes` is below entry_bytes_max.
    result<list_page> list(std::string_view directory, std::string_view after, std::size_t limit_bytes) const;

private:
    struct candidates;
    using directory_key = std::pair<std::uint64_t, std::uint64_t>; // device, inode

    file_store(unique_fd root, const file_identity& identity) noexcept;

    error_code open_staging(random_source& random);
    void clear_staging() const;
    result<staged_file> stage(std::string_view name, std::uint64_t size, std::uint32_t permissions);
    error_code check_target(const std::string& name) const;
    result<unique_fd> open_directory_making(const std::string& name);
    result<unique_fd> enter_making(int parent, const std::string& component, const std::string& name_so_far);
    void forget_durable(int directory);
    error_code sync_up(int directory);
    error_code collect(const std::string& directory, int fd, std::string_view after, candidates& page) const;
    bool is_listed(int fd, const std::string& directory, const char* component, unsigned char type) const;
    list_page describe(int fd, const std::string& directory, candidates& page) const;
    result<file_status> status_of_entry(int fd, const std::string& directory, const char* component) const;
    bool leads_back(const std::string& directory, const file_identity& target) const;

    unique_fd root_;
    file_identity root_identity_;
    // Shared with the staged files, which unlink themselves in it; the lock goes with the last of them.
    std::shared_ptr<const unique_fd> staging_;
    std::string staged_prefix_;
    std::atomic<std::uint64_t> staged_count_{0};

    // Directories whose own entry, and those above it, are known to be durable. Emptied when full.
    static constexpr std::size_t durable_directories_max = 4096;
    std::mutex durable_mutex_;
    std::set<directory_key> durable_directories_;
};

} // namespace penstock::storage
