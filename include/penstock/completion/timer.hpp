#pragma once

// Timers on the poller's clock. Intrusive: the owner embeds a timer; starting and stopping allocate nothing.

#include <penstock/core/clock.hpp>

#include <boost/intrusive/set.hpp>
#include <boost/intrusive/set_hook.hpp>

#include <cstddef>
#include <functional>
#include <utility>

namespace penstock::completion {

class timer_queue;

/// Calls a function once, at its time, from poller::poll(). Stops itself when destroyed.
/// Threads: the poller's.
class timer : public boost::intrusive::set_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
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
    friend bool operator<(const timer& a, const timer& b) noexcept { return a.due_ < b.due_; }

    time_point due_{};
    std::function<void()> action_;
};

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
        timers_.insert(t);
        if (due < watched_) {
            earlier_(context_, due);
        }
    }

    /// time_point_never when no timer runs.
    time_point next() const noexcept { return timers_.empty() ? time_point_never : timers_.begin()->due(); }

    /// Somebody sleeps until `first`: start() tells of anything earlier, until unwatch().
    void watch_before(time_point first) noexcept { watched_ = first; }
    void unwatch() noexcept { watched_ = time_point::min(); }

    /// Runs what is due, in the order of time and then of starting; returns how many. At most `run_max`, so that a timer whose
    /// action starts it again, due at once, holds nobody up. An exception of an action leaves through here; the others wait.
    std::size_t run(time_point now)
    {
        std::size_t count = 0;
        while (!timers_.empty() && timers_.begin()->due() <= now && count < run_max) {
            timer& due = *timers_.begin();
            due.unlink();
            ++count;
            const auto action = due.action_; // a copy: the action may destroy its timer
            action();
        }
        return count;
    }

private:
    static constexpr std::size_t run_max = 64;
    boost::intrusive::multiset<timer, boost::intrusive::constant_time_size<false>> timers_;
    time_point watched_ = time_point::min(); // min: nobody sleeps
    void (*earlier_)(void*, time_point) = nullptr;
    void* context_ = nullptr;
};

} // namespace penstock::completion
