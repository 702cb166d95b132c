#pragma once

// How far a copy is: a bar on a terminal, a line now and then elsewhere.

#include <penstock/core/clock.hpp>

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace penstock::command {

struct progress_counts {
    std::uint64_t files_done = 0;
    std::uint64_t files_total = 0;
    std::uint64_t bytes_done = 0;
    std::uint64_t bytes_total = 0;
};

/// "[#####     ] 50% 1.2GiB of 2.4GiB  1.1GB/s  0:01 left  3 of 7 files", at most `columns` wide: the bar shrinks first, then
/// it is left out, then the text is cut.
std::string format_bar(const progress_counts& counts, double bytes_per_second, std::size_t columns);

/// The same without the bar.
std::string format_progress(const progress_counts& counts, double bytes_per_second);

/// "0:07", "12:30", "3:05:00"; "-:--" when unknown (negative or not finite).
std::string format_time_left(double seconds);

/// Threads: one.
class progress_meter {
public:
    enum class style : std::uint8_t {
        silent,
        lines, ///< at most one in ten seconds
        bar,   ///< redrawn in place, five times a second
    };

    progress_meter(std::FILE* out, style look, clock& time, std::string_view label);
    progress_meter(const progress_meter&) = delete;
    progress_meter& operator=(const progress_meter&) = delete;
    ~progress_meter() { erase(); }

    progress_counts counts;

    /// Shows how far it is, if it is time to. Call it often, and now and then when nothing happens.
    void tick();
    /// A whole line of text that the bar must not be mixed with.
    void line(std::string_view text);
    /// Takes the bar away.
    void erase();

private:
    std::FILE* out_;
    style style_;
    clock* time_;
    std::string label_;
    time_point shown_at_;
    time_point measured_at_;
    std::uint64_t measured_bytes_ = 0;
    double rate_ = 0;
    bool drawn_ = false;
};

} // namespace penstock::command
