#pragma once

// The subcommands: what each takes, and the function that does it.

#include "failure.hpp"

#include <penstock/connection/runtime.hpp>
#include <penstock/storage/client.hpp>
#include <penstock/storage/server.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace penstock::command {

/// What every subcommand takes.
struct common_arguments {
    transport_choice transport = transport_choice::automatic;
    bool require_rdma = false;
    bool json = false;
    int verbosity = 0; ///< 1: info, 2: debug, 3: trace

    transport_choice effective_transport() const noexcept { return require_rdma ? transport_choice::verbs : transport; }
};

/// What the subcommands that connect take as well.
struct client_arguments : common_arguments {
    double stall_seconds = 120; ///< 0: wait for ever

    duration stall_limit() const noexcept
    {
        return stall_seconds > 0 ? std::chrono::duration_cast<duration>(std::chrono::duration<double>(stall_seconds))
                                 : duration::max();
    }
};

struct serve_arguments : common_arguments {
    std::string root;
    fabric::endpoint listen;
    std::uint64_t cache_bytes = std::uint64_t{512} << 20U;
    std::uint32_t connections = 256;
};

struct copy_arguments : client_arguments {
    std::vector<std::string> paths; ///< sources, then the target
    storage::checksum_mode checksum = storage::checksum_mode::crc32c;
    storage::durability durability = storage::durability::received;
    bool follow = false;
};

struct list_arguments : client_arguments {
    std::string uri;
    bool recursive = false;
    bool human = false;
};

struct bench_arguments : client_arguments {
    std::string uri;
    bool write = false;
    std::uint64_t size = std::uint64_t{1} << 20U;
    std::uint32_t depth = 16;
    double seconds = 3;
    std::uint64_t data = std::uint64_t{256} << 20U;
    storage::checksum_mode checksum = storage::checksum_mode::crc32c;
};

exit_status run_serve(const serve_arguments& arguments);
exit_status run_put(const copy_arguments& arguments);
exit_status run_get(const copy_arguments& arguments);
exit_status run_list(const list_arguments& arguments);
exit_status run_bench(const bench_arguments& arguments);

/// The sink and threshold that -v asks for; lives until the process ends.
logger make_logger(const common_arguments& arguments);

} // namespace penstock::command
