#pragma once

// A ready log sink for programs that have none of their own: lines on standard error or in a file, written by spdlog.

#include <penstock/core/error.hpp>
#include <penstock/core/log.hpp>

#include <memory>
#include <string>

namespace penstock {

struct spdlog_sink_options {
    std::string path; ///< appended to; empty: standard error
};

/// A sink that writes "2026-01-31T12:00:00.123456 warning [component] message (peer ..., lane ...)" and flushes each line.
///
/// Uses none of spdlog's globals: no registry, no default logger, no signal handler.
/// *Errors.* The system category's code (errno) if the file cannot be opened for appending.
/// *Threads.* The sink may be used from any; lines are not interleaved.
result<std::unique_ptr<log_sink>> make_spdlog_sink(const spdlog_sink_options& options = {});

} // namespace penstock
