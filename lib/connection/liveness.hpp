#pragma once

// Whether the peer still answers, as a pure state machine: pings every interval, and gives up when nothing comes.
// Silence counts only while we listen: a poller that was not run for a while starts afresh, since what the peer sent meanwhile is
// still unread.

#include <penstock/connection/connection.hpp>
#include <penstock/core/clock.hpp>

#include <algorithm>
#include <cstdint>

namespace penstock::connection {

/// Threads: one. Allocation: none.
class liveness {
public:
    enum class action : std::uint8_t { none, ping, dead };

    liveness(const liveness_options& options, time_point now) noexcept
        : options_(options)
        , heard_(now)
        , due_(saturating_add(now, options.interval))
    {}

    void heard(time_point now) noexcept { heard_ = now; }

    /// To be called at due(); later than that by an interval or more, and the time between was not spent listening.
    action on_time(time_point now) noexcept
    {
        if (now < due_) {
            return action::none;
        }
        if (now - due_ >= options_.interval) {
            heard_ = now;
        }
        if (now - heard_ >= options_.limit) {
            due_ = time_point_never;
            return action::dead;
        }
        const auto verdict = saturating_add(heard_, options_.limit);
        due_ = std::min(saturating_add(now, options_.interval), verdict);
        return action::ping;
    }

    time_point due() const noexcept { return due_; }

private:
    liveness_options options_;
    time_point heard_;
    time_point due_;
};

} // namespace penstock::connection
