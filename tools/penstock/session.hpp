#pragma once

// A connection to one server for the length of a command: the loop, the runtime, the client, the file threads, the signals.

#include "coroutine.hpp"
#include "failure.hpp"

#include <penstock/connection/runtime.hpp>
#include <penstock/storage/client.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/thread_pool.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace penstock::command {

struct session_options {
    transport_choice transport = transport_choice::automatic;
    storage::checksum_mode checksum = storage::checksum_mode::crc32c;
    std::uint32_t depth = 64;
    std::size_t slice_bytes = std::size_t{1} << 20U;
    std::size_t slices = 64;
    duration stall_limit = std::chrono::seconds(120); ///< nothing is answered for so long: the server is given up
    logger log{};
};

/// Threads: the one that calls run().
class session {
public:
    /// Throws no_rdma when RDMA is required and this machine has none, failed when memory cannot be registered.
    session(storage::uri server, const session_options& options);
    session(const session&) = delete;
    session& operator=(const session&) = delete;
    ~session();

    /// Connects, runs `body`, closes. Throws failure when no connection comes about, and what `body` throws.
    void run(std::function<awaitable<void>(session&)> body);

    /// Called about five times a second while `body` runs.
    void on_tick(std::function<void()> action) { on_tick_ = std::move(action); }

    storage::client& client() noexcept { return *client_; }
    const storage::client::properties& properties() const noexcept { return properties_; }
    const storage::uri& server() const noexcept { return server_; }
    asio::any_io_executor executor() { return io_.get_executor(); }
    asio::thread_pool& files() noexcept { return files_; }
    clock& time() noexcept { return runtime_->time(); }
    const logger& log() const noexcept { return log_; }

    /// One slice of registered memory and the right to it.
    struct slice {
        gate::permit permit;
        memory::buffer buffer; // given back before the permit
    };
    /// Waits for a free one. Errors: what registering more memory gives.
    awaitable<result<slice>> acquire_slice();
    std::size_t slice_bytes() const noexcept { return slice_bytes_; }

    /// Not an error while everything may go on. Else why it must not: connection_lost and the like, or cancelled after a signal.
    const error_code& stopped() const noexcept { return stopped_; }
    /// Notes a code that ends the connection; the client is closed, so that what is outstanding ends too.
    void lose(const error_code& ec);
    /// While one lives, an answer is expected; each that ends counts as one.
    class expectation {
    public:
        explicit expectation(session& on) noexcept
            : session_(on)
        {
            if (session_.expected_++ == 0) {
                session_.answered_at_ = session_.time().now();
            }
        }
        expectation(const expectation&) = delete;
        expectation& operator=(const expectation&) = delete;
        ~expectation()
        {
            --session_.expected_;
            session_.note_answer(session_.time().now());
        }

    private:
        session& session_;
    };
    /// An answer that no expectation stands for.
    void note_answer(time_point now) noexcept { answered_at_ = now; }

    /// The signal that stopped it, or 0.
    int signal() const noexcept { return signal_; }

private:
    awaitable<void> connect_and_run(std::function<awaitable<void>(session&)> body);
    void wait_for_signal();
    void wait_for_tick();
    void check_stall();

    storage::uri server_;
    session_options options_;
    logger log_;
    std::size_t slice_bytes_;
    asio::io_context io_{1};
    asio::thread_pool files_{2};
    std::unique_ptr<runtime> runtime_;
    gate slices_;
    std::optional<storage::client> client_;
    storage::client::properties properties_;
    asio::signal_set signals_;
    asio::posix::stream_descriptor timer_;
    std::function<void()> on_tick_;
    std::size_t expected_ = 0;
    time_point answered_at_{};
    error_code stopped_;
    int signal_ = 0;
    bool connected_ = false;
};

/// The exit status of a command that `stopped` ended.
exit_status status_of_stop(const session& from);

} // namespace penstock::command
