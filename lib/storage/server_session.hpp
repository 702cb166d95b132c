#pragma once

// A server's side of one connection, and of one request on it.

#include "storage/block_cache.hpp"
#include "storage/file_store.hpp"
#include "storage/messages.hpp"

#include <penstock/connection/acceptor.hpp>
#include <penstock/connection/connection.hpp>
#include <penstock/memory/memory_pool.hpp>
#include <penstock/storage/server.hpp>

#include <boost/asio/thread_pool.hpp>

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

namespace penstock::storage {

class session;
struct job;

/// What sessions share. It outlives none of its sessions' callbacks: those look at session::home first.
struct server::implementation {
    implementation(runtime& rt, const server_options& wanted);
    ~implementation();

    void accept(std::unique_ptr<connection::connection> made);
    void stop();

    /// Runs `work` on a file thread and `then` on the executor afterwards; neither if the server stops first.
    void blocking(std::shared_ptr<job> one, std::function<void(job&)> work, std::function<void(job&)> then);

    /// Gives `one` a slice, at once or when one is free, and then calls `next`.
    void with_slice(const std::shared_ptr<job>& one, std::function<void(job&)> next);
    /// Called when a request ended: slices may be free again.
    void slices_returned();

    runtime& owner;
    server_options options;
    std::unique_ptr<file_store> store;
    block_cache cache;
    server_statistics counters;
    std::string transports;
    std::unique_ptr<connection::acceptor> acceptor;
    std::unordered_set<std::shared_ptr<session>> sessions;

private:
    struct waiting {
        std::shared_ptr<job> one;
        std::function<void(job&)> next;
    };
    struct finished {
        std::shared_ptr<job> one;
        std::function<void(job&)> then;
    };

    bool take_slice(job& one);
    void run_finished();

    std::deque<waiting> waiting_; // bounded by the sessions' depth
    std::mutex finished_mutex_;
    std::vector<finished> finished_; // jobs hold registered memory, which must not end up in the executor's queue
    std::shared_ptr<implementation*> alive_; // null inside once this is gone
    std::unique_ptr<boost::asio::thread_pool> files_;
};

/// A handle of a client's: an object being read, or one being written.
struct open_object {
    open_file reading;
    staged_file writing;
};

/// Threads: the executor's, apart from what blocking() runs.
class session : public std::enable_shared_from_this<session> {
public:
    session(server::implementation& of, std::unique_ptr<connection::connection> over);

    void start();
    void close();

    server::implementation* home; ///< null once the session is closed; the executor's thread only

    std::uint32_t add_handle(std::shared_ptr<open_object> object);
    std::shared_ptr<open_object> find_handle(std::uint32_t id) const;
    bool drop_handle(std::uint32_t id) { return handles_.erase(id) != 0; }

    connection::connection& link() noexcept { return *connection_; }

    std::uint32_t in_flight = 0;

private:
    void on_message(std::span<const std::byte> message);
    void protocol_error(error_code why);

    std::unique_ptr<connection::connection> connection_;
    std::unordered_map<std::uint32_t, std::shared_ptr<open_object>> handles_;
    std::uint32_t next_handle_ = 1;
};

/// One request from its arrival to the end of its answer's send.
struct job : std::enable_shared_from_this<job> {
    std::shared_ptr<session> from;
    file_store* store = nullptr; ///< for the file threads, which outlive neither it nor the server
    request asked;
    std::string name;
    std::string after;
    std::shared_ptr<open_object> object;
    memory::buffer slice;
    std::array<std::shared_ptr<const cached_block>, 2> blocks; ///< instead of a slice
    std::array<fabric::local_segment, 2> data{};               ///< what goes into the client's window
    std::size_t data_segments = 0;
    response answer;
    error_code status;

    std::span<std::byte> window_bytes() { return slice.bytes().first(static_cast<std::size_t>(asked.window.length)); }
    void fail(error_code why) { status = why; }
};

/// Starts serving; ends with answer().
void serve(const std::shared_ptr<job>& one);
/// Sends what the job has: its data into the client's window, its answer behind it.
void answer(job& one);

/// The read of an open object, from the cache or its file.
void serve_read(const std::shared_ptr<job>& one);

} // namespace penstock::storage
