#include "recovery.hpp"

#include <algorithm>

namespace penstock::connection {
namespace {

// A peer with a control lane answers at once; more is a lost cause of its own, which liveness finds.
constexpr std::chrono::seconds answer_limit{5};

} // namespace

recovery::recovery(const recovery_options& options, std::size_t lanes, random_source& random)
    : options_(options)
    , random_(random)
    , lanes_(lanes)
{}

// Each attempt waits twice as long as the one before, up to the most, less a random part: at most half, and of the first attempt
// all, so that those who lost the same peer do not come back together.
duration recovery::delay(unsigned attempts)
{
    duration whole = options_.backoff_first;
    for (unsigned i = 0; i != attempts && whole < options_.backoff_max; ++i) {
        whole *= 2;
    }
    whole = std::min<duration>(whole, options_.backoff_max);
    const duration least = attempts == 0 ? duration{0} : whole / 2;
    const auto spread = static_cast<std::uint64_t>((whole - least).count());
    return least + duration(static_cast<duration::rep>(uniform_below(random_, spread + 1)));
}

void recovery::wait(track& what, time_point now)
{
    what.now = step::waiting;
    what.due = saturating_add(now, delay(what.attempts));
    ++what.attempts;
}

void recovery::note_outage(time_point now) noexcept
{
    const bool any = std::any_of(lanes_.begin(), lanes_.end(), [](const track& one) { return one.now == step::up; });
    if (any) {
        out_since_ = time_point_never;
    } else if (out_since_ == time_point_never) {
        out_since_ = now;
    }
}

void recovery::lane_lost(std::size_t lane, time_point now)
{
    track& one = lanes_[lane];
    if (one.now == step::up && now - one.since >= options_.backoff_max) {
        one.attempts = 0; // one that keeps dying young waits longer each time
    }
    one.now = step::fencing;
    note_outage(now);
}

void recovery::lane_fenced(std::size_t lane, time_point now)
{
    wait(lanes_[lane], now);
}

void recovery::control_lost(time_point now)
{
    if (whole_.now != step::up) {
        return;
    }
    if (now - whole_.since >= options_.backoff_max) {
        whole_.attempts = 0;
    }
    wait(whole_, now);
    for (track& one : lanes_) {
        if (one.now == step::asking || one.now == step::granted || one.now == step::opening) {
            one.now = step::waiting;
            one.due = now;
        }
    }
}

void recovery::ticket_granted(std::size_t lane) noexcept
{
    if (lanes_[lane].now == step::asking) {
        lanes_[lane].now = step::granted;
    }
}

void recovery::ticket_denied(std::size_t lane, time_point now)
{
    if (lanes_[lane].now == step::asking) {
        wait(lanes_[lane], now);
    }
}

void recovery::lane_opened(std::size_t lane, time_point now) noexcept
{
    lanes_[lane].now = step::up;
    lanes_[lane].since = now;
    note_outage(now);
}

void recovery::lane_not_opened(std::size_t lane, time_point now)
{
    if (lanes_[lane].now == step::opening) {
        wait(lanes_[lane], now);
    }
}

void recovery::dialed(time_point now) noexcept
{
    whole_.now = step::up;
    whole_.since = now;
    for (track& one : lanes_) {
        one = {step::up, 0, {}, now};
    }
    note_outage(now);
}

void recovery::not_dialed(time_point now)
{
    wait(whole_, now);
}

std::optional<recovery_action> recovery::next_dial(time_point now)
{
    const bool fenced
        = std::none_of(lanes_.begin(), lanes_.end(), [](const track& one) { return one.now == step::fencing; });
    if (whole_.now != step::waiting || !fenced || now < whole_.due) {
        return std::nullopt;
    }
    whole_.now = step::opening;
    return recovery_action{recovery_action::kind::dial, 0};
}

std::optional<recovery_action> recovery::next(time_point now)
{
    if (over_) {
        return std::nullopt;
    }
    if (out_since_ != time_point_never && now >= saturating_add(out_since_, options_.give_up_after)) {
        over_ = true;
        return recovery_action{recovery_action::kind::give_up, 0};
    }
    if (whole_.now != step::up) {
        return next_dial(now);
    }
    for (std::size_t lane = 0; lane != lanes_.size(); ++lane) {
        track& one = lanes_[lane];
        if (one.now == step::asking && now >= one.due) {
            wait(one, now);
        }
        if (one.now == step::waiting && now >= one.due) {
            one.now = step::asking;
            one.due = saturating_add(now, answer_limit);
            return recovery_action{recovery_action::kind::ask_for_ticket, lane};
        }
        if (one.now == step::granted) {
            one.now = step::opening;
            return recovery_action{recovery_action::kind::open_lane, lane};
        }
    }
    return std::nullopt;
}

time_point recovery::wake() const noexcept
{
    if (over_) {
        return time_point_never;
    }
    auto first = out_since_ == time_point_never ? time_point_never : saturating_add(out_since_, options_.give_up_after);
    if (whole_.now != step::up) {
        const bool fenced
            = std::none_of(lanes_.begin(), lanes_.end(), [](const track& one) { return one.now == step::fencing; });
        return whole_.now == step::waiting && fenced ? std::min(first, whole_.due) : first;
    }
    for (const track& one : lanes_) {
        if (one.now == step::waiting || one.now == step::asking) {
            first = std::min(first, one.due);
        }
    }
    return first;
}

bool recovery::active() const noexcept
{
    return whole_.now != step::up
        || std::any_of(lanes_.begin(), lanes_.end(), [](const track& one) { return one.now != step::up; });
}

} // namespace penstock::connection
