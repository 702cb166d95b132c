#pragma once

// Repeats kept out of a log: a peer that comes back a thousand times a second must not fill a disk.

#include <penstock/core/clock.hpp>
#include <penstock/core/log.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace penstock {

struct log_limit_options {
    std::uint32_t burst = 5;                      ///< records alike within an interval; 0: no limit
    duration interval = std::chrono::seconds(10); ///< from the first of them
};

/// Passes records on to another sink, but of those alike only the first few of each interval. Alike are records with the same level,
/// component and message, whatever they are about. The first one after the interval is preceded by a record that says how
/// many were left out.
///
/// *Lifetime.* `to` and `time` outlive it. *Threads.* Any. *Allocation.* None but for that record; it remembers `kinds_max` kinds
/// of records, and of one that makes room for another forgets what it left out.
class limited_log_sink final : public log_sink {
public:
    static constexpr std::size_t kinds_max = 64;

    limited_log_sink(log_sink& to, clock& time, const log_limit_options& options = {}) noexcept
        : to_(to)
        , time_(time)
        , options_(options)
    {}

    void write(const log_record& record) noexcept override;

private:
    struct kind {
        std::size_t hash = 0;
        time_point began{};
        std::uint32_t passed = 0; ///< 0: free
        std::uint64_t left_out = 0;
    };

    /// How many alike were left out before this one; `passes` whether this one is to be written.
    std::uint64_t count(const log_record& record, bool& passes) noexcept;

    log_sink& to_;
    clock& time_;
    log_limit_options options_;
    std::mutex mutex_; // guards what follows; not held while `to_` writes
    std::array<kind, kinds_max> kinds_{};
};

} // namespace penstock
