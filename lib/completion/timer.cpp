#include <penstock/completion/timer.hpp>

#include <algorithm>

namespace penstock::completion {

// All timers of a level are due before those of the next one, and all of a slot before those of the next: none has wrapped around.
timer_queue::place_in_wheel timer_queue::first() noexcept
{
    for (std::size_t level = 0; level != levels; ++level) {
        while (occupied_[level] != 0) {
            const auto slot = static_cast<std::size_t>(std::countr_zero(occupied_[level]));
            if (!wheel_[level][slot].empty()) {
                return {level, slot};
            }
            occupied_[level] &= occupied_[level] - 1; // stopped, all of them
        }
    }
    return nowhere;
}

std::uint64_t timer_queue::start_of(place_in_wheel where) const noexcept
{
    const auto below = where.level * level_bits;
    const auto above = below + level_bits;
    return (now_ >> above << above) | (std::uint64_t{where.slot} << below);
}

time_point timer_queue::next() noexcept
{
    const auto where = first();
    if (where.level == levels) {
        return time_point_never;
    }
    if (where.level != 0) {
        return time_point(duration(static_cast<std::int64_t>(start_of(where) << tick_bits)));
    }
    const auto& near = wheel_[0][where.slot];
    return std::min_element(near.begin(), near.end(), [](const timer& a, const timer& b) {
        return a.due_ < b.due_;
    })->due();
}

void timer_queue::move_down(place_in_wheel where) noexcept
{
    list moving;
    moving.swap(wheel_[where.level][where.slot]);
    occupied_[where.level] &= ~(std::uint64_t{1} << where.slot);
    while (!moving.empty()) {
        auto& t = moving.front();
        moving.pop_front();
        place(t);
    }
}

std::size_t timer_queue::run(time_point now)
{
    const auto tick = tick_of(now);
    std::size_t count = 0;
    while (count < run_max) {
        const auto where = first();
        if (where.level == levels || start_of(where) > tick) {
            now_ = std::max(now_, tick); // no slot begins in between
            break;
        }
        now_ = std::max(now_, start_of(where));
        if (where.level != 0) {
            move_down(where);
            continue;
        }
        auto& near = wheel_[0][where.slot];
        const auto due = std::find_if(near.begin(), near.end(), [now](const timer& t) { return t.due_ <= now; });
        if (due == near.end()) {
            break; // later in this very tick
        }
        auto& t = *due;
        t.unlink();
        ++count;
        const auto action = t.action_; // a copy: the action may destroy its timer
        action();
    }
    return count;
}

} // namespace penstock::completion
