#include <penstock/completion/poller.hpp>

#include <algorithm>
#include <cerrno>
#include <utility>

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

namespace penstock::completion {
namespace {

constexpr std::uint32_t slots_limit = 1U << 24U; // what an operation_id has room for

} // namespace

poller::poller(clock& time, const poller_options& options)
    : time_(time)
    , options_(options)
    , timers_([](void* context, time_point first) { static_cast<poller*>(context)->set_alarm(first); }, this)
{
    if (options_.operations_max == 0 || options_.operations_max > slots_limit || options_.source_interval == 0) {
        throw system_error(make_error_code(errc::invalid_argument), "poller options");
    }
    epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    timer_descriptor_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (epoll_ < 0 || timer_descriptor_ < 0) {
        const auto error = make_system_error(errno);
        ::close(epoll_);
        ::close(timer_descriptor_);
        throw system_error(error, "poller descriptors");
    }
    watch(timer_descriptor_);
    slots_ = std::make_unique<slot[]>(options_.operations_max);
    for (std::uint32_t index = options_.operations_max; index-- != 0;) {
        slots_[index].next_free = free_head_;
        free_head_ = index;
    }
}

poller::~poller()
{
    for (std::uint32_t index = 0; index != options_.operations_max; ++index) {
        if (slots_[index].destroy != nullptr) {
            free_slot(slots_[index]);
        }
    }
    ::close(timer_descriptor_);
    ::close(epoll_);
}

void poller::watch(int descriptor)
{
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = descriptor;
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, descriptor, &event) != 0) {
        throw system_error(make_system_error(errno), "epoll_ctl");
    }
}

void poller::add(fabric::completion_queue& queue)
{
    watch(queue.descriptor());
    queues_.push_back(&queue);
}

void poller::add(source& what)
{
    watch(what.descriptor());
    sources_.push_back(&what);
}

void poller::remove(source& what) noexcept
{
    (void)::epoll_ctl(epoll_, EPOLL_CTL_DEL, what.descriptor(), nullptr);
    std::erase(sources_, &what);
}

void poller::hold() noexcept
{
    if (outstanding_++ == 0 && wake_ != nullptr) {
        wake_(wake_context_);
    }
}

void poller::release_hold() noexcept
{
    if (--outstanding_ == 0 && armed_ && wake_ != nullptr) {
        wake_(wake_context_);
    }
}

poller::slot* poller::live_slot(operation_id id) noexcept
{
    const std::uint32_t index = index_of(id);
    if (index >= options_.operations_max) {
        return nullptr;
    }
    slot& s = slots_[index];
    return s.destroy != nullptr && s.generation == generation_of(id) ? &s : nullptr;
}

void poller::free_slot(slot& s) noexcept
{
    std::exchange(s.destroy, nullptr)(s); // not live any more while its destructor runs
    s.deliver = nullptr;
    s.generation = (s.generation + 1) & 0x7fff'ffffU;
    s.next_free = free_head_;
    free_head_ = static_cast<std::uint32_t>(&s - slots_.get());
    if (s.counted) {
        release_hold();
    }
}

void poller::release(operation_id id) noexcept
{
    if (slot* s = live_slot(id); s != nullptr) {
        free_slot(*s);
    }
}

std::size_t poller::deliver_batch()
{
    std::size_t count = 0;
    while (batch_next_ != batch_end_) {
        const fabric::work_completion completion = batch_[batch_next_++]; // a copy: a handler may poll
        ++count;
        ++statistics_.completions;
        if (slot* s = live_slot(completion.id); s != nullptr) {
            s->deliver(*this, *s, completion);
        } else {
            ++statistics_.stale_completions;
        }
    }
    return count;
}

std::size_t poller::poll_sources()
{
    turns_until_sources_ = options_.source_interval;
    std::size_t events = 0;
    for (std::size_t i = 0; i < sources_.size(); ++i) { // a turn may add or remove sources
        events += sources_[i]->turn();
    }
    if (timers_.next() != time_point_never) {
        events += timers_.run(time_.now());
    }
    return events;
}

std::size_t poller::poll()
{
    ++statistics_.turns;
    std::size_t events = deliver_batch();
    for (auto* queue : queues_) {
        batch_next_ = 0;
        batch_end_ = queue->poll(batch_);
        events += deliver_batch();
    }
    if (--turns_until_sources_ == 0) {
        events += poll_sources();
    }
    return events;
}

// Timers started while the driver sleeps come here too: without that they would wait for an unrelated event.
void poller::set_alarm(time_point next) noexcept
{
    timers_.watch_before(next);
    itimerspec when{};
    if (next != time_point_never) {
        const auto left = std::max<std::int64_t>((next - time_.now()).count(), 1);
        when.it_value.tv_sec = left / 1'000'000'000;
        when.it_value.tv_nsec = left % 1'000'000'000;
    }
    (void)::timerfd_settime(timer_descriptor_, 0, &when, nullptr); // fails for a bad descriptor or a negative time only
}

error_code poller::arm()
{
    turns_until_sources_ = 1; // the last poll before sleeping looks at everything
    set_alarm(timers_.next());
    armed_ = true;
    for (auto* queue : queues_) {
        if (const auto error = queue->arm(); error.failed()) {
            return error;
        }
    }
    return {};
}

void poller::acknowledge()
{
    armed_ = false;
    timers_.unwatch();
    std::uint64_t expirations = 0;
    (void)!::read(timer_descriptor_, &expirations, sizeof expirations);
    for (auto* queue : queues_) {
        queue->acknowledge();
    }
    turns_until_sources_ = 1;
}

} // namespace penstock::completion
