#include "progress.hpp"

#include <penstock/core/byte_size.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include <sys/ioctl.h>
#include <unistd.h>

namespace penstock::command {
namespace {

constexpr duration between_bars = std::chrono::milliseconds(200);
constexpr duration between_lines = std::chrono::seconds(10);
constexpr duration between_measurements = std::chrono::milliseconds(500);
constexpr std::size_t bar_width_max = 30;
constexpr std::size_t bar_width_min = 5;

double share_done(const progress_counts& counts)
{
    if (counts.bytes_total == 0) {
        return counts.files_total == 0
            ? 1.0
            : std::min(1.0, static_cast<double>(counts.files_done) / static_cast<double>(counts.files_total));
    }
    return std::min(1.0, static_cast<double>(counts.bytes_done) / static_cast<double>(counts.bytes_total));
}

std::size_t terminal_columns(std::FILE* out)
{
    struct winsize size {};
    if (::ioctl(::fileno(out), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) {
        return 80;
    }
    return size.ws_col;
}

} // namespace

std::string format_time_left(double seconds)
{
    constexpr double hours_max = 1000;
    if (!std::isfinite(seconds) || seconds < 0 || seconds > hours_max * 3600) {
        return "-:--";
    }
    const auto whole = static_cast<std::uint64_t>(std::ceil(seconds));
    const auto hours = whole / 3600;
    const auto minutes = whole / 60 % 60;
    if (hours != 0) {
        return fmt::format("{}:{:02}:{:02}", hours, minutes, whole % 60);
    }
    return fmt::format("{}:{:02}", minutes, whole % 60);
}

std::string format_progress(const progress_counts& counts, double bytes_per_second)
{
    const double left = counts.bytes_done >= counts.bytes_total
        ? 0.0
        : static_cast<double>(counts.bytes_total - counts.bytes_done) / bytes_per_second;
    return fmt::format("{:3.0f}% {} of {}  {}  {} left  {} of {} files", std::floor(share_done(counts) * 100),
        format_byte_size(counts.bytes_done), format_byte_size(counts.bytes_total), format_byte_rate(bytes_per_second),
        format_time_left(left), counts.files_done, counts.files_total);
}

std::string format_bar(const progress_counts& counts, double bytes_per_second, std::size_t columns)
{
    auto text = format_progress(counts, bytes_per_second);
    constexpr std::size_t frame = 3; // "[", "]" and a space
    if (columns >= text.size() + frame + bar_width_min) {
        const auto width = std::min(bar_width_max, columns - text.size() - frame);
        const auto filled = static_cast<std::size_t>(share_done(counts) * static_cast<double>(width));
        return fmt::format("[{}{}] {}", std::string(filled, '#'), std::string(width - filled, ' '), text);
    }
    text.resize(std::min(text.size(), columns));
    return text;
}

progress_meter::progress_meter(std::FILE* out, style look, clock& time, std::string_view label)
    : out_(out)
    , style_(look)
    , time_(&time)
    , label_(label)
    , shown_at_(time.now())
    , measured_at_(shown_at_)
{}

void progress_meter::tick()
{
    if (style_ == style::silent) {
        return;
    }
    const auto now = time_->now();
    if (now - measured_at_ >= between_measurements) {
        const auto seconds = std::chrono::duration<double>(now - measured_at_).count();
        // A retried file may take bytes back.
        const double fresh = counts.bytes_done > measured_bytes_
            ? static_cast<double>(counts.bytes_done - measured_bytes_) / seconds
            : 0.0;
        rate_ = rate_ == 0 ? fresh : 0.7 * rate_ + 0.3 * fresh;
        measured_at_ = now;
        measured_bytes_ = counts.bytes_done;
    }
    if (now - shown_at_ < (style_ == style::bar ? between_bars : between_lines)) {
        return;
    }
    shown_at_ = now;
    if (style_ == style::bar) {
        fmt::print(out_, "\r{}\x1b[K", format_bar(counts, rate_, terminal_columns(out_) - 1));
        drawn_ = true;
    } else {
        fmt::print(out_, "{}: {}\n", label_, format_progress(counts, rate_));
    }
    std::fflush(out_);
}

void progress_meter::line(std::string_view text)
{
    erase();
    fmt::print(out_, "{}\n", text);
    std::fflush(out_);
}

void progress_meter::erase()
{
    if (drawn_) {
        fmt::print(out_, "\r\x1b[K");
        std::fflush(out_);
        drawn_ = false;
    }
}

} // namespace penstock::command
