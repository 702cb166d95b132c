#pragma once

// What a copy has done: one object for programs, one line for people.

#include "progress.hpp"

#include <penstock/core/error.hpp>
#include <penstock/storage/client.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace penstock::command {

struct reported_error {
    std::string file;
    std::string message;
};

struct report {
    std::string command;
    std::uint64_t files = 0; ///< complete ones
    std::uint64_t bytes = 0; ///< in them
    std::uint64_t directories = 0;
    std::uint64_t links_skipped = 0;
    std::uint64_t others_skipped = 0;
    double seconds = 0;
    std::string transport; ///< empty: no connection was made
    std::string transport_reason;
    std::string checksum;
    std::vector<reported_error> errors; ///< the first errors_kept
    std::uint64_t error_count = 0;

    static constexpr std::size_t errors_kept = 100;
    static constexpr std::uint64_t errors_shown = 10;

    void take_transport(const storage::client::properties& properties);
    double bytes_per_second() const noexcept { return seconds > 0 ? static_cast<double>(bytes) / seconds : 0.0; }

    /// One JSON object.
    std::string to_json() const;
    /// One line.
    std::string to_line() const;
};

/// Counts an error, and prints it if it is among the first.
void report_error(report& into, progress_meter& meter, const std::string& file, const std::string& message);

/// Says how many errors were not printed.
void report_rest(const report& from, progress_meter& meter);

const char* to_string(storage::checksum_mode mode) noexcept;

} // namespace penstock::command
