#include <penstock/completion/poller.hpp>

#include "completion/contract.hpp"

#include <penstock/core/fork.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <tuple>
#include <utility>

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

namespace penstock::completion {
namespace {

constexpr std::uint32_t slots_limit = 1U << 24U; // what an operation_id has room for
constexpr std::uint32_t batch_limit = (std::uint32_t{1} << std::tuple_size_v<decltype(poller_statistics::batches)>)-1;

} // namespace

const poller::slot_kind poller::free_kind{&poller::deliver_stale, nullptr, false};

poller::poller(clock& time, const poller_options& options)
    : time_(time)
    , options_(options)
    , timers_([](void* context, time_point first) { static_cast<poller*>(context)->set_alarm(first); }, this)
{
    if (options_.operations_max == 0 || options_.operations_max > slots_limit || options_.source_interval == 0
        || options_.batch_max == 0 || options_.batch_max > batch_limit) {
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
    batch_ = std::make_unique<fabric::work_completion[]>(options_.batch_max);
    batch_next_ = batch_end_ = batch_.get();
    slots_ = std::make_unique<slot[]>(options_.operations_max);
    for (std::uint32_t index = options_.operations_max; index-- != 0;) {
        slots_[index].next_free = free_head_;
        free_head_ = index;
    }
}

poller::~poller()
{
    require(!driven_, "destroy the driver before its poller");
    require(polling_ == 0, "a poller is not destroyed by a handler that it calls: post that to the executor");
    for (std::uint32_t index = 0; index != options_.operations_max; ++index) {
        release((std::uint64_t{slots_[index].generation} << 24U) | index);
    }
    ::close(timer_descriptor_);
    if (epoll_ >= 0) {
        ::close(epoll_);
    }
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

void poller::unwatch(int descriptor) noexcept
{
    if (!core::forked()) { // there it is the parent's as well
        (void)::epoll_ctl(epoll_, EPOLL_CTL_DEL, descriptor, nullptr);
    }
}

void poller::add(fabric::completion_queue& queue)
{
    queues_.reserve(queues_.size() + 1);
    watch(queue.descriptor());
    queues_.push_back(&queue);
}

void poller::remove(fabric::completion_queue& queue) noexcept
{
    unwatch(queue.descriptor());
    std::erase(queues_, &queue);
}

void poller::add(source& what)
{
    watch(what.descriptor());
    sources_.push_back(&what);
}

void poller::remove(source& what) noexcept
{
    unwatch(what.descriptor());
    std::erase(sources_, &what);
}

void poller::attach_driver() noexcept
{
    require(!driven_, "a poller has one driver");
    driven_ = true;
}

void poller::detach_driver() noexcept
{
    driven_ = false;
    on_work(nullptr, nullptr);
}

void poller::wake() noexcept
{
    std::exchange(wake_, nullptr)(wake_context_);
}

void poller::deliver_stale(poller& self, slot&, const fabric::work_completion&)
{
    ++self.statistics_.stale_completions;
}

void poller::release(operation_id id) noexcept
{
    const std::uint32_t index = index_of(id);
    if (index >= options_.operations_max) {
        return;
    }
    slot& s = slots_[index];
    if (s.kind == &free_kind || s.generation != generation_of(id)) {
        return;
    }
    const auto& kind = *std::exchange(s.kind, &free_kind); // not live any more while its destructor runs
    kind.destroy(s);
    recycle(s, index);
    if (kind.counted) {
        release_hold();
    }
}

// There is one at least.
inline void poller::deliver_batch()
{
    do {
        const auto& completion = *batch_next_++;
        const std::uint32_t index = index_of(completion.id);
        if (index < options_.operations_max) [[likely]] {
            slot& s = slots_[index];
            if (s.generation == generation_of(completion.id)) [[likely]] {
                s.kind->deliver(*this, s, completion);
                continue;
            }
        }
        ++statistics_.stale_completions;
    } while (batch_next_ != batch_end_);
}

[[gnu::noinline]] std::size_t poller::deliver_rest()
{
    const auto count = static_cast<std::size_t>(batch_end_ - batch_next_);
    deliver_batch();
    return count;
}

[[gnu::noinline]] void poller::deliver_timed()
{
    const struct measured {
        poller& of;
        time_point begin = of.time_.now();
        ~measured() { of.statistics_.handler_time += of.time_.now() - begin; }
    } now{*this};
    deliver_batch();
}

std::size_t poller::poll_sources()
{
    turns_until_sources_ = options_.source_interval;
    if (core::forked()) {
        return 0; // the timers' owners are the parent's
    }
    std::size_t events = 0;
    for (std::size_t i = 0; i < sources_.size(); ++i) { // a turn may add or remove sources
        events += sources_[i]->turn();
    }
    if (!timers_.empty()) {
        events += timers_.run(time_.now());
    }
    return events;
}

std::size_t poller::poll()
{
    const struct turn {
        std::uint32_t& depth;
        ~turn() { --depth; }
    } now{++polling_};
    ++statistics_.turns;
    std::size_t events = batch_next_ == batch_end_ ? 0 : deliver_rest();
    for (std::size_t i = 0; i < queues_.size(); ++i) { // a handler may add or remove queues
        auto* const batch = batch_.get();
        const auto got = queues_[i]->poll({batch, options_.batch_max});
        if (got == 0) {
            continue;
        }
        events += got;
        statistics_.completions += got;
        ++statistics_.batches[63U - static_cast<unsigned>(std::countl_zero(got | 1U))];
        batch_next_ = batch;
        batch_end_ = batch + got;
        if (options_.time_handlers) [[unlikely]] {
            deliver_timed();
        } else {
            deliver_batch();
        }
    }
    if (--turns_until_sources_ == 0) [[unlikely]] {
        events += poll_sources();
    }
    return events;
}

// Timers started while the driver sleeps come here too: without that they would wait for an unrelated event.
void poller::set_alarm(time_point next) noexcept
{
    if (core::forked()) {
        return; // the descriptor is the parent's as well
    }
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
    if (core::forked()) {
        return errc::forked;
    }
    turns_until_sources_ = 1; // the last poll before sleeping looks at everything
    set_alarm(timers_.next());
    for (auto* queue : queues_) {
        if (const auto error = queue->arm(); error.failed()) {
            return error;
        }
    }
    return {};
}

void poller::acknowledge()
{
    if (core::forked()) {
        return;
    }
    timers_.unwatch();
    std::uint64_t expirations = 0;
    (void)!::read(timer_descriptor_, &expirations, sizeof expirations);
    for (auto* queue : queues_) {
        queue->acknowledge();
    }
    turns_until_sources_ = 1;
}

} // namespace penstock::completion
