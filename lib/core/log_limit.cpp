#include <penstock/core/log_limit.hpp>

#include <fmt/format.h>

#include <functional>
#include <string_view>

namespace penstock {
namespace {

std::size_t hash_of(const log_record& record) noexcept
{
    const std::hash<std::string_view> hash;
    return (hash(record.message) * 31 + hash(record.component)) * 31 + static_cast<std::size_t>(record.level);
}

} // namespace

std::uint64_t limited_log_sink::count(const log_record& record, bool& passes) noexcept
{
    const std::size_t hash = hash_of(record);
    const time_point now = time_.now();
    const std::lock_guard lock(mutex_);
    kind& one = kinds_[hash % kinds_.size()];
    passes = true;
    if (one.passed == 0 || one.hash != hash) {
        one = {hash, now, 1, 0};
        return 0;
    }
    if (now - one.began >= options_.interval) {
        const std::uint64_t left_out = one.left_out;
        one = {hash, now, 1, 0};
        return left_out;
    }
    if (one.passed < options_.burst) {
        ++one.passed;
    } else {
        ++one.left_out;
        passes = false;
    }
    return 0;
}

void limited_log_sink::write(const log_record& record) noexcept
{
    bool passes = true;
    const std::uint64_t left_out = options_.burst == 0 ? 0 : count(record, passes);
    if (!passes)
        return;
    if (left_out != 0) {
        try {
            const auto summary = fmt::format("{} more like the next one were left out", left_out);
            to_.write({record.level, record.component, summary, {}});
        } catch (...) {
            // Lost: a sink that cannot write has nobody to tell.
        }
    }
    to_.write(record);
}

} // namespace penstock
