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
    {
    }

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
    /// Starts a timer, or moves a running one.
    void start(timer& t, time_point due) noexcept
    {
        t.stop();
        t.due_ = due;
        timers_.insert(t);
    }

    /// time_point_never when no timer runs.
    time_point next() const noexcept { return timers_.empty() ? time_point_never : timers_.begin()->due(); }

    /// Runs what is due, each timer once; returns how many. A timer started meanwhile waits for the next call.
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
};

} // namespace penstock::completion
