#pragma once

// Serves a directory tree to clients.

#include <penstock/connection/runtime.hpp>
#include <penstock/storage/object.hpp>

#include <cstdint>
#include <memory>
#include <string>

namespace penstock::storage {

struct server_options {
    std::string root;          ///< the tree; must exist
    fabric::endpoint listen{}; ///< port 0: the system chooses
    transport_choice transport = transport_choice::automatic;
    std::uint32_t connections_max = 256;
    std::uint32_t half_open_max = 64; ///< connections that have not finished their handshake
    std::uint32_t depth = 64;         ///< requests outstanding for each connection
    std::uint32_t handles_per_connection = 256;
    std::size_t cache_bytes = std::size_t{512} << 20U; ///< registered memory that keeps read data; 0: none
    std::uint32_t file_threads = 2;                    ///< for what may block on the disk
};

struct server_statistics {
    std::uint64_t connections_accepted = 0;
    std::uint64_t connections_open = 0;
    std::uint64_t handshakes_refused = 0; ///< garbage, wrong magic, too late, over a limit
    std::uint64_t protocol_errors = 0;    ///< connections closed because the peer broke the protocol
    std::uint64_t requests = 0;
    std::uint64_t requests_failed = 0;
    std::uint64_t bytes_read = 0;    ///< served to clients
    std::uint64_t bytes_written = 0; ///< taken from clients
    std::uint64_t cache_hits = 0;
    std::uint64_t cache_misses = 0;
};

/// Threads: the runtime's executor only.
class server {
public:
    struct implementation;

    /// Opens the root and its staging directory, and listens. Throws system_error: errno for the root (ENOENT, ENOTDIR, EACCES)
    /// and for the address (EADDRINUSE, EACCES, EADDRNOTAVAIL); no_device with transport verbs and none here;
    /// wrong_state when another server has the same root.
    server(runtime& rt, const server_options& options);
    server(const server&) = delete;
    server& operator=(const server&) = delete;
    /// Stops abruptly if stop() was not called: objects being written are dropped.
    ~server();

    fabric::endpoint local_endpoint() const noexcept; ///< with the port in use
    /// What is offered and why, e.g. "tcp (no RDMA device on this machine)" or "verbs on rxe0, tcp".
    const std::string& transports() const noexcept;
    server_statistics statistics() const noexcept;

    /// Stops listening, closes every connection in order, drops unfinished objects. Idempotent.
    void stop();

private:
    std::unique_ptr<implementation> body_;
};

} // namespace penstock::storage
