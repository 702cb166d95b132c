#pragma once

// The application's own memory, registered by explicit handles. There is no cache keyed by addresses: pages get remapped under it.

#include <penstock/core/error.hpp>
#include <penstock/fabric/memory.hpp>
#include <penstock/memory/local_buffer.hpp>

#include <atomic>
#include <cstddef>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace penstock::memory {

class registrar;

struct registration_options {
    std::size_t region_bytes_max = std::size_t{1} << 30U; ///< longer memory is split; rounded down to a power of two
};

/// Registered memory of the application, until this is destroyed. It converts to the view that transfers take.
///
/// Ownership: the bytes belong to the application and must stay mapped while this lives; child of the registrar, which is the
/// runtime's. Destroy it when no operation on it is in progress. The destructor hands the devices' work to the control thread:
/// until that is done the pages stay pinned, and the bytes may be freed. deregister() waits instead.
/// Threads: one at a time; the destructor on any. Allocation: the destructor's.
class registration {
public:
    registration() = default;
    registration(registration&& other) noexcept;
    registration& operator=(registration&& other) noexcept;
    ~registration();

    explicit operator bool() const noexcept { return range_ != nullptr; }
    std::span<std::byte> bytes() const noexcept { return slice().bytes(); }
    std::size_t size() const noexcept { return bytes().size(); }
    /// Into how many regions, on each device, the memory was split.
    std::size_t region_count() const noexcept;

    local_buffer slice() const noexcept
    {
        return range_ == nullptr ? local_buffer() : local_buffer(range_->bytes(), *range_);
    }
    local_buffer slice(std::size_t offset, std::size_t length) const { return slice().slice(offset, length); }
    operator local_buffer() const noexcept { return slice(); } // NOLINT(google-explicit-constructor): all of it

    /// Ends all use by devices now; the handle is empty afterwards. Blocks: not for a poller's thread.
    /// Errors: region_in_use while a window is bound: then the handle keeps the memory registered; wrong_state for an empty handle;
    /// forked.
    error_code deregister();

    /// Of a handle that async_register() gave with an error: the sentence that names the amounts, for people.
    const std::string& refusal() const noexcept { return refusal_; }

private:
    friend class registrar;
    std::shared_ptr<registered_range> range_;
    registrar* owner_ = nullptr;
    std::string refusal_;
};

struct registrar_options {
    std::size_t bytes_max = std::numeric_limits<std::size_t>::max(); ///< registered at most, by all handles together
    std::size_t region_bytes_max = std::numeric_limits<std::size_t>::max(); ///< what every device can do
};

struct registrar_statistics {
    std::size_t registrations = 0;
    std::size_t bytes_registered = 0; ///< pinned; released handles count until the control thread is done with them
    std::size_t bytes_max = 0;
};

/// Registers the application's memory within a budget.
///
/// Ownership: child of the protection domains; registrations are its children. Threads: any.
class registrar {
public:
    /// `domains`: one for each open device, in the order of the runtime's devices.
    registrar(std::vector<fabric::protection_domain*> domains, const registrar_options& options);
    registrar(const registrar&) = delete;
    registrar& operator=(const registrar&) = delete;
    /// All registrations must be gone: asserted.
    ~registrar();

    /// Registers `bytes` on every device: all or nothing. Blocks for milliseconds: async_register() does
    /// not. The bytes should begin and end at page borders: where the kernel does not copy pinned pages at fork(), a child loses whole
    /// pages. With `error` set, the handle is empty and its refusal() tells the amounts; the other one throws it as a system_error.
    /// Errors: registration_budget (bytes_max), registration_refused (locked-memory limit), invalid_argument (no bytes),
    /// no_memory, forked, or errno.
    registration register_memory(std::span<std::byte> bytes, const registration_options& options, error_code& error);
    registration register_memory(std::span<std::byte> bytes, const registration_options& options = {});

    registrar_statistics statistics() const noexcept;

    /// Who does the blocking work of handles that are destroyed: takes it and returns true, or returns false when it cannot.
    void release_elsewhere(std::function<bool(std::function<void()>)> later) { later_ = std::move(later); }

private:
    friend class registration;

    bool take_budget(std::size_t bytes) noexcept;
    error_code end(registered_range& range) noexcept;
    void release(std::shared_ptr<registered_range> range) noexcept;

    std::vector<fabric::protection_domain*> domains_;
    registrar_options options_;
    std::function<bool(std::function<void()>)> later_;
    std::atomic<std::size_t> bytes_{0};
    std::atomic<std::size_t> registrations_{0};
};

/// What to do about registration_refused: "raise `ulimit -l`: registering 64 MiB needs ..., the limit is ...". It tells what is
/// locked already and what the limit is. Threads: any. Reads /proc.
std::string registration_help(std::size_t bytes);

} // namespace penstock::memory
