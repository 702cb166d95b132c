#pragma once

// The load of a benchmark: aligned extents, read at random or written round and round, a fixed number outstanding, for a
// fixed time.

#include "histogram.hpp"
#include "session.hpp"

#include <penstock/core/random.hpp>

#include <optional>
#include <vector>

namespace penstock::command {

/// An open object to read from or write to.
struct bench_object {
    storage::object_handle handle;
    std::uint64_t size = 0; ///< at least one extent
};

struct bench_options {
    bool write = false;
    std::size_t size = 0; ///< bytes of an extent
    std::uint32_t depth = 0;
    duration length{};
};

struct bench_outcome {
    std::uint64_t operations = 0;
    std::uint64_t errors = 0;
    error_code first_error{};
    duration elapsed{};
    histogram latency_ns;
};

/// Threads: the session's. Allocation while it runs: what the client needs for an operation.
class bench_load {
public:
    bench_load(session& on, std::vector<bench_object> objects, const bench_options& options);
    bench_load(const bench_load&) = delete;
    bench_load& operator=(const bench_load&) = delete;

    /// Errors of operations are counted; it ends early when there are too many, or when the session stops.
    awaitable<bench_outcome> run();

private:
    static constexpr std::uint64_t errors_max = 100;

    struct slot {
        session::slice memory;
        time_point started{};
    };

    void start(slot& with);
    void finished(slot& with, const error_code& ec, std::size_t bytes);
    bool is_over(time_point now) const noexcept;

    session* session_;
    std::vector<bench_object> objects_;
    std::vector<std::uint64_t> extents_before_; // running sum of the objects' extents
    bench_options options_;
    seeded_random_source random_;
    std::vector<slot> slots_;
    std::size_t running_ = 0;
    std::uint64_t written_ = 0;
    time_point deadline_{};
    bench_outcome outcome_;
    std::optional<asio::any_completion_handler<void()>> waiting_;
};

} // namespace penstock::command
