#pragma once

// The clock seam: everything above core reads time through a `clock`, so that a simulator can own it.

#include <chrono>

namespace penstock {

/// A span of time, in nanoseconds.
using duration = std::chrono::nanoseconds;

/// Where a `clock` counts from: unspecified, and not the wall clock's. Instants of two clocks must not be compared.
struct clock_epoch {};

/// An instant on a `clock`.
using time_point = std::chrono::time_point<clock_epoch, duration>;

/// "No deadline": later than every instant.
inline constexpr time_point time_point_never = time_point::max();

/// A source of monotonic time.
///
/// *Threads.* `now()` may be called from several threads at once, unless an implementation says otherwise.
/// *Allocation.* None.
class clock {
public:
    clock() = default;
    clock(const clock&) = delete;
    clock& operator=(const clock&) = delete;
    virtual ~clock() = default;

    /// The current instant. Never earlier than what a previous call on the same thread returned.
    virtual time_point now() noexcept = 0;
};

/// The machine's steady clock (CLOCK_MONOTONIC).
///
/// *Lifetime.* One object for the whole process; it is never destroyed.
/// *Threads.* Any.
clock& system_clock_source() noexcept;

/// `instant + span`, or `time_point_never` where the sum would overflow.
///
/// `instant` must not be before its epoch and `span` must not be negative.
constexpr time_point saturating_add(time_point instant, duration span) noexcept
{
    return span > time_point_never - instant ? time_point_never : instant + span;
}

} // namespace penstock
