#include "fabric/tcp/channel.hpp"

#include <penstock/core/fork.hpp>

#include "fabric/tcp/connection.hpp"
#include "fabric/tcp/listener.hpp"

#include <array>
#include <sys/epoll.h>

namespace penstock::fabric::tcp {
namespace {

constexpr std::uint64_t inbox_tag = 0;
constexpr std::uint64_t timer_tag = 1;

std::uint64_t next_identifier() noexcept
{
    static std::atomic<std::uint64_t> next{timer_tag + 1};
    return next.fetch_add(1, std::memory_order_relaxed);
}

} // namespace

waiter::waiter() noexcept
    : identifier_(next_identifier())
{}

result<std::unique_ptr<connection_channel>> channel::create(const tcp_options& options)
{
    auto epoll = make_epoll();
    if (!epoll)
        return epoll.error();
    auto timer = make_timer();
    if (!timer)
        return timer.error();
    auto event = make_event();
    if (!event)
        return event.error();
    auto inbox = std::make_shared<channel_inbox>();
    inbox->event = std::move(*event);
    if (const auto error = watch(epoll->get(), inbox->event.get(), EPOLLIN, inbox_tag); error)
        return error;
    if (const auto error = watch(epoll->get(), timer->get(), EPOLLIN, timer_tag); error)
        return error;
    return std::unique_ptr<connection_channel>(
        std::make_unique<channel>(options, std::move(*epoll), std::move(*timer), std::move(inbox)));
}

channel::channel(
    const tcp_options& options, unique_descriptor epoll, unique_descriptor timer, std::shared_ptr<channel_inbox> inbox)
    : options_(options)
    , epoll_(std::move(epoll))
    , timer_(std::move(timer))
    , inbox_(std::move(inbox))
{}

result<std::unique_ptr<fabric::listener>> channel::listen(const endpoint& local, const listen_options& options)
{
    return listener::create(*this, local, options);
}

result<std::unique_ptr<fabric::connection>> channel::resolve(const endpoint& remote, const resolve_options& options)
{
    if (core::forked())
        return error_code(errc::forked);
    if (remote.port() == 0)
        return error_code(errc::invalid_argument);
    auto made = std::make_unique<connection>(*this, remote, options);
    connection_event event;
    event.type = connection_event_type::resolved;
    event.source = made.get();
    tell(std::move(event));
    return std::unique_ptr<fabric::connection>(std::move(made));
}

error_code channel::enter(waiter& who, int descriptor, std::uint32_t events)
{
    if (const auto error = watch(epoll_.get(), descriptor, events, who.identifier()); error)
        return error;
    waiters_.emplace(who.identifier(), &who);
    return {};
}

void channel::change(waiter& who, int descriptor, std::uint32_t events) noexcept
{
    rewatch(epoll_.get(), descriptor, events, who.identifier());
}

void channel::leave(waiter& who, int descriptor) noexcept
{
    set_deadline(who, time_point_never);
    if (waiters_.erase(who.identifier()) != 0)
        unwatch(epoll_.get(), descriptor);
}

void channel::set_deadline(waiter& who, time_point when)
{
    if (who.deadline_ != time_point_never)
        deadlines_.erase({who.deadline_, who.identifier()});
    who.deadline_ = when;
    if (when == time_point_never)
        return;
    deadlines_.emplace(when, who.identifier());
    if (when < timer_at_) {
        timer_at_ = when;
        arm_timer(timer_.get(), (when - time().now()).count());
    }
}

void channel::tell(connection_event event)
{
    events_.push_back(std::move(event));
    signal_event(inbox_->event.get());
}

void channel::forget(const fabric::connection* source) noexcept
{
    std::erase_if(events_, [source](const connection_event& event) { return event.source == source; });
}

void channel::forget_requests_of(std::uint64_t listener) noexcept
{
    std::erase_if(events_, [listener](const connection_event& event) {
        return event.incoming && static_cast<const connection&>(*event.incoming).origin() == listener;
    });
}

std::size_t channel::poll(std::span<connection_event> out)
{
    if (core::forked())
        return 0;
    // What is told is bounded by what is taken: no new handshakes while events wait.
    if (events_.size() < out.size())
        progress();
    std::size_t taken = 0;
    while (taken != out.size() && !events_.empty()) {
        if (events_.front().type == connection_event_type::resolved)
            static_cast<connection*>(events_.front().source)->note_resolved();
        out[taken++] = std::move(events_.front());
        events_.pop_front();
    }
    if (!events_.empty())
        signal_event(inbox_->event.get());
    return taken;
}

void channel::progress()
{
    std::array<epoll_event, 64> ready;
    const auto count = ::epoll_wait(epoll_.get(), ready.data(), static_cast<int>(ready.size()), 0);
    for (int i = 0; i < count; ++i) {
        const auto tag = ready[static_cast<std::size_t>(i)].data.u64;
        if (tag == inbox_tag)
            take_notices();
        else if (tag == timer_tag)
            clear_event(timer_.get());
        else if (const auto found = waiters_.find(tag); found != waiters_.end())
            found->second->on_ready();
    }
    run_timeouts();
}

void channel::take_notices()
{
    clear_event(inbox_->event.get());
    std::vector<channel_inbox::notice> notices;
    {
        const std::lock_guard lock(inbox_->mutex);
        notices.swap(inbox_->notices);
    }
    for (const auto& notice : notices)
        if (const auto found = waiters_.find(notice.connection); found != waiters_.end())
            found->second->on_notice(notice.type);
}

void channel::run_timeouts()
{
    if (deadlines_.empty())
        return;
    const auto now = time().now();
    while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
        const auto identifier = deadlines_.begin()->second;
        auto& who = *waiters_.at(identifier);
        set_deadline(who, time_point_never);
        who.on_timeout();
    }
    const auto next = deadlines_.empty() ? time_point_never : deadlines_.begin()->first;
    if (next != timer_at_ && next != time_point_never)
        arm_timer(timer_.get(), (next - now).count());
    timer_at_ = next;
}

} // namespace penstock::fabric::tcp
