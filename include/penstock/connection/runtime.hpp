#pragma once

// What a program opens once for each thread that does input and output: devices, their completion queues, a poller, a pool.

#include <penstock/completion/asio_driver.hpp>
#include <penstock/completion/poller.hpp>
#include <penstock/connection/landing.hpp>
#include <penstock/core/clock.hpp>
#include <penstock/core/log.hpp>
#include <penstock/core/log_limit.hpp>
#include <penstock/core/random.hpp>
#include <penstock/fabric/device.hpp>
#include <penstock/memory/memory_pool.hpp>

#include <boost/asio/any_io_executor.hpp>

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::completion {
class control_thread;
} // namespace penstock::completion

namespace penstock::memory {
class registrar;
} // namespace penstock::memory

namespace penstock::connection {
class device_watch;
class event_router;
class lane;
class pool_waiters;
} // namespace penstock::connection

namespace penstock {

enum class transport_choice : std::uint8_t { automatic, verbs, tcp };

/// "auto", "verbs", "tcp".
std::string_view to_string(transport_choice choice) noexcept;
result<transport_choice> parse_transport_choice(std::string_view text) noexcept;

struct runtime_options {
    transport_choice transport = transport_choice::automatic; ///< tcp: RDMA devices are not even looked at
    /// RDMA devices: empty for the best one, "all" for all that are active, else names separated by commas, each NAME, NAME:PORT or
    /// NAME:PORT:GID_INDEX ("mlx5_0:1:3,mlx5_1"). Of several only the first carries lanes yet; memory is
    /// registered with all.
    std::string device;
    std::uint32_t completion_depth = 16'384; ///< entries of each completion queue; bounds lanes times depth
    bool memory_windows = true;              ///< false: as if no device had any, see docs/release-contract.md
    memory::memory_pool_options pool{};
    std::size_t message_bytes_max = std::size_t{256} << 20U; ///< registered memory for messages of all connections
    completion::poller_options poller{}; ///< operations_max: each receive of a lane takes one, and each chain in flight
    std::size_t application_bytes_max
        = std::numeric_limits<std::size_t>::max(); ///< registered by async_register() at most
    std::size_t acquires_max = 1'024;              ///< that wait in async_acquire() at most
    completion::poll_options polling{};
    logger log{};
    log_limit_options log_limit{};   ///< how many records alike reach the log's sink
    clock* time = nullptr;           ///< null: the system's
    random_source* random = nullptr; ///< null: the system's
};

/// An open device and what lanes on it share. Members are destroyed in reverse order: that is the ownership tree.
struct runtime_device {
    fabric::provider* provider = nullptr;
    std::unique_ptr<fabric::device> device;
    std::unique_ptr<fabric::protection_domain> domain;
    std::unique_ptr<fabric::completion_queue> completions;
    bool windows = true;   ///< it has type-2 memory windows
    std::size_t index = 0; ///< in runtime::devices and in memory::local_buffer::region
    bool up = true;        ///< its port, as far as the device has told
};

/// Ownership: connections, clients, servers and buffers are its children and must be destroyed before it.
/// Not from a handler that the poller calls (a transfer's, a message's, on_down's) may it be destroyed: post that to the executor.
/// Threads: the executor's only; the executor must run its handlers on one thread at a time.
class runtime {
public:
    /// Throws system_error: no_device when `transport` is verbs and there is none (or it cannot be opened); whatever opening
    /// a device gives. With `automatic` an RDMA device that cannot be opened is logged and named in verbs_reason().
    explicit runtime(boost::asio::any_io_executor executor, const runtime_options& options = {});
    runtime(const runtime&) = delete;
    runtime& operator=(const runtime&) = delete;
    ~runtime();

    const boost::asio::any_io_executor& executor() const noexcept { return executor_; }
    completion::poller& poller() noexcept { return *poller_; }
    memory::memory_pool& pool() noexcept { return *pool_; }
    /// The pool that connections take their messages from.
    memory::memory_pool& messages() noexcept { return *messages_; }
    /// Where the old values of atomics land.
    connection::landing_words& landing() noexcept { return *landing_; }
    /// The application's own registered memory, and who waits for the pool's: connection/memory_operations.hpp.
    memory::registrar& registrations() noexcept { return *registrations_; }
    connection::pool_waiters& waiters() noexcept { return *waiters_; }
    /// For what blocks: completion/control_thread.hpp.
    completion::control_thread& control() noexcept { return *control_; }
    clock& time() noexcept { return *time_; }
    random_source& random() noexcept { return *random_; }
    const logger& log() const noexcept { return log_; }

    /// The device that serves `kind`, of several the one with this number; null if there is none.
    runtime_device* device(fabric::transport kind, std::size_t number = 0) noexcept;
    std::size_t device_count(fabric::transport kind) const noexcept;
    /// Where connections of this kind are made; null if there is none.
    connection::event_router* router(fabric::transport kind) noexcept;

    /// Moves a lane to ERROR, waits until nothing of it is in flight, destroys its windows and its queue pair, and then calls
    /// `done`, never inside this call. After `done` no peer can reach memory through it. What is still here when the runtime
    /// ends is drained for `drain_limit` and then destroyed without calling `done`.
    void retire(std::shared_ptr<connection::lane> lane, std::function<void()> done = {});

    /// Keeps an operation of several steps alive until drop(), or until the runtime ends: then it is destroyed first.
    void keep(std::shared_ptr<void> operation);
    void drop(const void* operation) noexcept;

    /// Why there is, or is not, an RDMA device: one sentence for people.
    const std::string& verbs_reason() const noexcept { return verbs_reason_; }

private:
    struct retired_lane;

    error_code open_device(fabric::provider& provider, const runtime_options& options, std::string_view name);
    error_code open_channel(fabric::provider& provider);
    error_code open_verbs(const runtime_options& options);
    void make_registrar(const std::vector<fabric::protection_domain*>& domains, const runtime_options& options);
    void drain_retired() noexcept;

    static constexpr std::chrono::seconds drain_limit{5};

    boost::asio::any_io_executor executor_;
    clock* time_;
    random_source* random_;
    std::unique_ptr<limited_log_sink> limited_log_; // null: no sink was given
    logger log_;
    std::string verbs_reason_;
    std::unique_ptr<fabric::provider> tcp_provider_;
    std::unique_ptr<fabric::provider> verbs_provider_;
    std::vector<std::unique_ptr<runtime_device>> devices_;
    std::vector<std::unique_ptr<fabric::connection_channel>> channels_; // of tcp, then of verbs where there is a device
    std::unique_ptr<memory::memory_pool> pool_;
    std::unique_ptr<memory::memory_pool> messages_;
    std::unique_ptr<connection::landing_words> landing_;
    std::unique_ptr<memory::registrar> registrations_;
    std::unique_ptr<completion::control_thread> control_;
    std::unique_ptr<completion::poller> poller_;
    std::unique_ptr<connection::pool_waiters> waiters_;
    std::vector<std::unique_ptr<connection::event_router>> routers_; // of the channels
    std::vector<std::unique_ptr<connection::device_watch>> watches_;
    std::vector<std::unique_ptr<retired_lane>> retired_;
    std::vector<std::shared_ptr<void>> kept_;
    std::unique_ptr<completion::asio_driver> driver_;
};

} // namespace penstock
