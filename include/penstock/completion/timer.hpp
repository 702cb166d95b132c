#pragma once

// Timers on the poller's clock. Intrusive: the owner embeds a timer; starting and stopping allocate nothing, and cost the same
// however many run.

#include <penstock/core/clock.hpp>

#include <boost/intrusive/list.hpp>
#include <boost/intrusive/list_hook.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>

namespace penstock::completion {

class timer_queue;

/// Calls a function once, at its time, from poller::poll(). Stops itself when destroyed; when its queue is, it stops too.
/// Threads: the poller's. Allocation: none to start and stop; none to run a function that captures no more than two pointers.
class timer : public boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
public:
    timer() = default;
    explicit timer(std::function<void()> action)
        : action_(std::move(action))
    {}

    void set_action(std::function<void()> action) { action_ = std::move(action); }
    void stop() noexcept
    {
        if (is_linked()) {
            unlink();
        }
    }
    bool running() const noexcept { return is_linked(); }
    time_point due() const noexcept { return due_; }

private:
    friend class timer_queue;

    time_point due_{};
    std::function<void()> action_;
};

/// A hierarchical wheel. Time is counted in ticks of 1,024 ns; a level has 64 slots, each a list, and a slot of the next level is as
/// long as all 64. A timer is in the lowest level in whose present turn its tick lies, and moves down as the time comes near: at
/// most once for each level, and only if nobody has stopped it. 9 levels reach as far as the clock does.
class timer_queue {
public:
    timer_queue() = default;
    /// `earlier` is called from start() with a time that is before the one given to watch_before().
    timer_queue(void (*earlier)(void*, time_point), void* context) noexcept
        : earlier_(earlier)
        , context_(context)
    {}

    /// Starts a timer, or moves a running one.
    void start(timer& t, time_point due) noexcept
    {
        t.stop();
        t.due_ = due;
        place(t);
        if (due < watched_) {
            earlier_(context_, due);
        }
    }

    /// True when no timer runs; may be false for a while after the last was stopped.
    bool empty() const noexcept
    {
        for (const auto bits : occupied_) {
            if (bits != 0) {
                return false;
            }
        }
        return true;
    }

    /// When to call run(): never later than the first timer is due, and exactly then once it is near. time_point_never when no timer
    /// runs.
    time_point next() noexcept;

    /// Somebody sleeps until `first`: start() tells of anything earlier, until unwatch().
    void watch_before(time_point first) noexcept { watched_ = first; }
    void unwatch() noexcept { watched_ = time_point::min(); }

    /// Runs what is due, in the order of ticks and then of starting; returns how many. At most `run_max`, so that a timer whose
    /// action starts it again, due at once, holds nobody up. An exception of an action leaves through here; the others wait.
    std::size_t run(time_point now);

private:
    using list = boost::intrusive::list<timer, boost::intrusive::constant_time_size<false>>;
    struct place_in_wheel {
        std::size_t level;
        std::size_t slot;
    };

    static constexpr std::size_t run_max = 64;
    static constexpr unsigned tick_bits = 10;
    static constexpr unsigned level_bits = 6;
    static constexpr std::size_t levels = 9; // 10 + 9 * 6 = 64 bits
    static constexpr place_in_wheel nowhere{levels, 0};

    static std::uint64_t tick_of(time_point when) noexcept
    {
        const auto count = when.time_since_epoch().count();
        return count < 0 ? 0 : static_cast<std::uint64_t>(count) >> tick_bits;
    }

    void place(timer& t) noexcept
    {
        const auto due = tick_of(t.due_);
        const auto tick = due < now_ ? now_ : due;
        const auto level = static_cast<std::size_t>(std::bit_width((tick ^ now_) | 1U) - 1) / level_bits;
        const auto slot = (tick >> (level * level_bits)) & 63U;
        wheel_[level][slot].push_back(t);
        occupied_[level] |= std::uint64_t{1} << slot;
    }

    place_in_wheel first() noexcept;
    std::uint64_t start_of(place_in_wheel where) const noexcept;
    void move_down(place_in_wheel where) noexcept;

    std::uint64_t now_ = 0;                        // tick; no slot that begins at or before it is above level 0
    std::array<std::uint64_t, levels> occupied_{}; // bit: the slot has timers, or had some that were stopped
    std::array<std::array<list, 64>, levels> wheel_{};
    time_point watched_ = time_point::min(); // min: nobody sleeps
    void (*earlier_)(void*, time_point) = nullptr;
    void* context_ = nullptr;
};

} // namespace penstock::completion
