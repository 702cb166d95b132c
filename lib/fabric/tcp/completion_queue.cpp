#include "fabric/tcp/completion_queue.hpp"

#include <penstock/core/fork.hpp>

#include "fabric/tcp/device.hpp"

#include <algorithm>
#include <bit>
#include <sys/epoll.h>

namespace penstock::fabric::tcp {
namespace {

constexpr std::uint64_t event_tag = 0;
constexpr std::uint64_t timer_tag = 1;

std::uint64_t tag_of(queue_pair& pair) noexcept
{
    return reinterpret_cast<std::uintptr_t>(&pair);
}

} // namespace

result<std::unique_ptr<fabric::completion_queue>> completion_queue::create(device& owner, std::uint32_t depth)
{
    if (depth == 0 || depth > owner.limits().completion_queue_depth_max)
        return error_code(errc::invalid_argument);
    auto epoll = make_epoll();
    if (!epoll)
        return epoll.error();
    auto timer = make_timer();
    if (!timer)
        return timer.error();
    auto event = make_event();
    if (!event)
        return event.error();
    auto signal = std::make_shared<queue_signal>();
    signal->event = std::move(*event);
    if (const auto error = watch(epoll->get(), signal->event.get(), EPOLLIN, event_tag); error)
        return error;
    if (const auto error = watch(epoll->get(), timer->get(), EPOLLIN, timer_tag); error)
        return error;
    return std::unique_ptr<fabric::completion_queue>(
        std::make_unique<completion_queue>(owner, depth, std::move(*epoll), std::move(*timer), std::move(signal)));
}

completion_queue::completion_queue(device& owner, std::uint32_t depth, unique_descriptor epoll, unique_descriptor timer,
    std::shared_ptr<queue_signal> signal)
    : owner_(owner)
    , depth_(depth)
    , epoll_(std::move(epoll))
    , timer_(std::move(timer))
    , signal_(std::move(signal))
    , ring_(std::bit_ceil(std::size_t{depth}))
{}

bool completion_queue::reserve(std::uint32_t entries) noexcept
{
    if (entries > depth_ - reserved_)
        return false;
    reserved_ += entries;
    return true;
}

std::size_t completion_queue::side_of(const queue_pair& pair) const noexcept
{
    return pair.receives_into(*this) ? 0 : 1;
}

void completion_queue::add(queue_pair& pair)
{
    pairs_.reserve(pairs_.size() + 1);
    work_.reserve(2 * pairs_.capacity()); // a turn of output may list a pair again before the old list is dropped
    attended_.reserve(pairs_.capacity());
    pairs_.push_back(&pair);
    if (pairs_.size() == few + 1)
        for (auto* each : pairs_)
            watch_pair(*each);
}

void completion_queue::remove(queue_pair& pair) noexcept
{
    std::erase(pairs_, &pair);
    std::erase(work_, &pair);
    std::erase(attended_, &pair);
    if (pair.watched[side_of(pair)])
        unwatch(epoll_.get(), pair.socket());
    for (auto index = first_; index != next_; ++index) {
        auto& entry = ring_[index & (ring_.size() - 1)];
        if (entry.owner == &pair)
            entry.owner = nullptr;
    }
}

void completion_queue::watch_pair(queue_pair& pair) noexcept
{
    auto& watched = pair.watched[side_of(pair)];
    if (!watched && pair.adopted() && !pair.input_ended())
        watched = !watch(epoll_.get(), pair.socket(), EPOLLIN, tag_of(pair));
}

void completion_queue::adopt(queue_pair& pair) noexcept
{
    if (pairs_.size() > few || armed_ != armed::no)
        watch_pair(pair);
}

void completion_queue::input_ended(queue_pair& pair) noexcept
{
    auto& watched = pair.watched[side_of(pair)];
    if (std::exchange(watched, false))
        unwatch(epoll_.get(), pair.socket());
}

void completion_queue::mark(queue_pair& pair) noexcept
{
    auto& listed = pair.listed[side_of(pair)];
    if (!std::exchange(listed, true))
        work_.push_back(&pair);
    disturb();
}

void completion_queue::attend(queue_pair& pair) noexcept
{
    if (!std::exchange(pair.attended[side_of(pair)], true))
        attended_.push_back(&pair);
    disturb();
}

/// What is posted while the queue's owner sleeps may leave something for a later turn: there must be one.
void completion_queue::disturb() noexcept
{
    if (turning_ || !std::exchange(sleeps_, false))
        return;
    signal_event(signal_->event.get());
}

void completion_queue::push(const completion_entry& entry) noexcept
{
    if (next_ - first_ == ring_.size()) {
        if (!std::exchange(overrun_, true)) {
            overrun_unhandled_ = true;
            owner_.report({device_event_type::completion_queue_error, entry.completion.queue_pair_number, 0});
        }
        return;
    }
    ring_[next_++ & (ring_.size() - 1)] = entry;
    if (!polling_)
        wake();
}

/// Signals if the queue is armed for one of the completions that wait.
void completion_queue::wake() noexcept
{
    if (armed_ == armed::no || first_ == next_)
        return;
    bool wakes = armed_ == armed::any;
    for (auto index = first_; index != next_ && !wakes; ++index)
        wakes = ring_[index & (ring_.size() - 1)].wakes_solicited;
    if (!wakes)
        return;
    armed_ = armed::no;
    signal_event(signal_->event.get());
}

std::size_t completion_queue::poll(std::span<work_completion> out)
{
    if (core::forked())
        return 0;
    polling_ = turning_ = true;
    progress();
    if (sleeps_ && !(work_.empty() && attended_.empty()))
        settle(); // this is the poll after arm(): what it has read may have to be answered
    polling_ = turning_ = false;
    const auto taken = drain(out);
    if (taken != 0)
        sleeps_ = false;
    wake();
    return taken;
}

void completion_queue::progress()
{
    if (signal_->rings.load(std::memory_order_acquire) != rings_seen_)
        look_at_links();
    if (std::exchange(overrun_unhandled_, false))
        for (auto* pair : pairs_)
            pair->move_to_error();
    give_output_turns();
    if (pairs_.size() > few) {
        read_ready();
        return;
    }
    const bool all = std::exchange(look_at_all_, false);
    for (auto* pair : pairs_)
        if (all || pair->is_due())
            pair->turn_input(input_);
}

void completion_queue::look_at_links()
{
    rings_seen_ = signal_->rings.load(std::memory_order_acquire);
    for (auto* pair : pairs_)
        pair->look_at_link();
}

void completion_queue::give_output_turns()
{
    // Those that want another turn list themselves again, behind `count`.
    const auto count = work_.size();
    for (std::size_t i = 0; i != count; ++i) {
        auto& pair = *work_[i];
        pair.listed[side_of(pair)] = false;
        pair.turn_output(output_, true);
    }
    work_.erase(work_.begin(), work_.begin() + static_cast<std::ptrdiff_t>(count));
}

void completion_queue::read_ready()
{
    std::array<epoll_event, 64> events;
    const auto count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
    for (int i = 0; i < count; ++i) {
        const auto tag = events[static_cast<std::size_t>(i)].data.u64;
        if (tag == event_tag || tag == timer_tag)
            continue;
        reinterpret_cast<queue_pair*>(static_cast<std::uintptr_t>(tag))->turn_input(input_);
    }
}

std::size_t completion_queue::drain(std::span<work_completion> out) noexcept
{
    std::size_t taken = 0;
    while (taken != out.size() && first_ != next_) {
        const auto& entry = ring_[first_++ & (ring_.size() - 1)];
        out[taken++] = entry.completion;
        if (entry.owner)
            entry.owner->release(entry.send_slots, entry.receive_slot);
    }
    return taken;
}

/// False when the pair waits for nothing but input any more.
bool completion_queue::prepare_to_sleep(queue_pair& pair, time_point& wakes_at) noexcept
{
    const auto side = side_of(pair);
    const bool wanted = pair.output_blocked();
    if (pair.watched[side] && wanted != pair.watched_for_output[side]) {
        pair.watched_for_output[side] = wanted;
        rewatch(epoll_.get(), pair.socket(), wanted ? EPOLLIN | EPOLLOUT : EPOLLIN, tag_of(pair));
    }
    wakes_at = std::min(wakes_at, pair.wakes_at());
    pair.attended[side] = wanted || pair.wakes_at() != time_point_never;
    return pair.attended[side];
}

/// What is deferred to the next turn must not wait for one that may not come.
void completion_queue::settle() noexcept
{
    const auto before = output_.written;
    give_output_turns();
    if (output_.written != before && !work_.empty())
        signal_event(signal_->event.get()); // a turn has its limits: there may be more to write
    auto wakes_at = time_point_never;
    std::erase_if(attended_, [&](queue_pair* pair) { return !prepare_to_sleep(*pair, wakes_at); });
    if (wakes_at != time_point_never) {
        arm_timer(timer_.get(), (wakes_at - owner_.time().now()).count());
        timer_set_ = true;
    }
}

error_code completion_queue::arm(bool solicited_only)
{
    if (core::forked())
        return error_code(errc::forked);
    look_at_all_ = true;
    if (pairs_.size() <= few) // else they have been watched since they came
        for (auto* pair : pairs_)
            watch_pair(*pair);
    turning_ = true;
    settle();
    turning_ = false;
    sleeps_ = true;
    if (armed_ != armed::any)
        armed_ = solicited_only ? armed::solicited : armed::any;
    wake();
    return {};
}

void completion_queue::acknowledge()
{
    clear_event(signal_->event.get());
    sleeps_ = false;
    look_at_all_ = true;
    if (std::exchange(timer_set_, false))
        disarm_timer(timer_.get());
}

} // namespace penstock::fabric::tcp
