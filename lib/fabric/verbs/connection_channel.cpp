#include "fabric/verbs/connection_channel.hpp"

#include <penstock/core/fork.hpp>

#include "fabric/verbs/errors.hpp"
#include "fabric/verbs/listener.hpp"
#include "fabric/verbs/provider.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <string>

namespace penstock::fabric::verbs {
namespace {

constexpr std::chrono::seconds overdue_max{1};

error_code watch(int set, int descriptor)
{
    epoll_event interest{};
    interest.events = EPOLLIN;
    interest.data.fd = descriptor;
    return ::epoll_ctl(set, EPOLL_CTL_ADD, descriptor, &interest) == 0 ? error_code{} : make_system_error(errno);
}

cm_target& target_of(const rdma_cm_id& id)
{
    return *static_cast<cm_target*>(id.context);
}

} // namespace

result<std::unique_ptr<connection_channel>> verbs_connection_channel::create(verbs_provider& owner)
{
    std::unique_ptr<verbs_connection_channel> made(new verbs_connection_channel(owner));
    if (const auto error = made->initialise())
        return error;
    return std::unique_ptr<connection_channel>(std::move(made));
}

error_code verbs_connection_channel::initialise()
{
    channel_ = rdma_create_event_channel();
    if (channel_ == nullptr) {
        const bool absent = errno == ENODEV || errno == ENOENT || errno == ENXIO || errno == ENOSYS || errno == 0;
        return absent ? make_error_code(errc::no_device) : error_from_errno(errno);
    }
    const int flags = ::fcntl(channel_->fd, F_GETFL);
    if (flags < 0 || ::fcntl(channel_->fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return make_system_error(errno);
    timer_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    wake_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    event_set_ = ::epoll_create1(EPOLL_CLOEXEC);
    if (timer_ < 0 || wake_ < 0 || event_set_ < 0)
        return make_system_error(errno);
    if (const auto error = watch(event_set_, channel_->fd))
        return error;
    if (const auto error = watch(event_set_, wake_))
        return error;
    return watch(event_set_, timer_);
}

verbs_connection_channel::~verbs_connection_channel()
{
    if (event_set_ >= 0)
        ::close(event_set_);
    if (timer_ >= 0)
        ::close(timer_);
    if (wake_ >= 0)
        ::close(wake_);
    if (channel_ != nullptr)
        rdma_destroy_event_channel(channel_);
}

result<std::unique_ptr<listener>> verbs_connection_channel::listen(const endpoint& local, const listen_options& options)
{
    if (core::forked())
        return make_error_code(errc::forked);
    return verbs_listener::create(*this, local, options);
}

result<std::unique_ptr<connection>> verbs_connection_channel::resolve(
    const endpoint& remote, const resolve_options& options)
{
    if (core::forked())
        return make_error_code(errc::forked);
    if (options.timeout.count() <= 0 || options.handshake_timeout.count() <= 0 || remote.port() == 0)
        return make_error_code(errc::invalid_argument);
    auto made = std::make_unique<verbs_connection>(*this, options);
    if (const auto error = made->start(remote, options.local))
        return error;
    return std::unique_ptr<connection>(std::move(made));
}

void verbs_connection_channel::wait(verbs_connection& connection)
{
    deadlines_.insert(connection);
    set_timer();
}

void verbs_connection_channel::forget(verbs_connection& connection) noexcept
{
    deadlines_.erase(deadlines_.iterator_to(connection));
}

void verbs_connection_channel::note_broken(verbs_connection& connection) noexcept
{
    if (connection.broken_hook.is_linked())
        return;
    broken_.push_back(connection);
    if (!woken_.exchange(true))
        ::eventfd_write(wake_, 1);
}

void verbs_connection_channel::forget_broken(verbs_connection& connection) noexcept
{
    if (connection.broken_hook.is_linked())
        broken_.erase(broken_.iterator_to(connection));
}

void verbs_connection_channel::take_broken()
{
    eventfd_t ignored = 0;
    ::eventfd_read(wake_, &ignored);
    woken_.store(false);
    for (;;) {
        verbs_connection* next = nullptr;
        {
            const std::lock_guard lock(owner_.link_mutex());
            if (broken_.empty())
                return;
            next = &broken_.front();
            broken_.pop_front();
        }
        // Only this thread destroys it. Disconnecting takes the lock itself.
        next->on_pair_broken();
    }
}

/// The timer may fire early, for a connection that no longer waits: the poll after it finds nothing and sets it anew.
void verbs_connection_channel::set_timer()
{
    const auto next = deadlines_.empty() ? time_point_never : deadlines_.begin()->deadline();
    if (next >= timer_set_for_)
        return;
    timer_set_for_ = next;
    const auto span = std::max<std::int64_t>(1, (next - owner_.time().now()).count());
    itimerspec setting{};
    setting.it_value.tv_sec = static_cast<time_t>(span / 1'000'000'000);
    setting.it_value.tv_nsec = static_cast<long>(span % 1'000'000'000);
    ::timerfd_settime(timer_, 0, &setting, nullptr);
}

std::size_t verbs_connection_channel::poll(std::span<connection_event> out)
{
    if (core::forked())
        return 0;
    std::uint64_t expirations = 0;
    if (::read(timer_, &expirations, sizeof expirations) == sizeof expirations)
        timer_set_for_ = time_point_never;
    if (woken_.load(std::memory_order_acquire))
        take_broken();
    // Answers before deadlines: a caller that was busy elsewhere must not take its own delay for the peer's silence. A
    // flood of requests may not put the deadlines off for ever, though.
    const auto now = owner_.time().now();
    std::size_t count = 0;
    bool drained = false;
    while (count < out.size() && !drained) {
        out[count] = {};
        rdma_cm_event* event = nullptr;
        if (rdma_get_cm_event(channel_, &event) != 0)
            drained = true;
        else if (take(*event, out[count]))
            ++count;
    }
    const auto expired = drained ? now : now - overdue_max;
    while (count < out.size() && !deadlines_.empty() && deadlines_.begin()->deadline() <= expired) {
        out[count] = {};
        if (deadlines_.begin()->on_deadline(out[count]))
            ++count;
    }
    set_timer();
    return count;
}

/// Acknowledges the event before anything else happens: destroying its id waits for that.
bool verbs_connection_channel::take(rdma_cm_event& event, connection_event& out)
{
    const rdma_conn_param& parameters = event.param.conn;
    const cm_event copy{event.event, event.status, parameters.initiator_depth};
    rdma_cm_id* const id = event.id;
    rdma_cm_id* const listen_id = event.listen_id;
    if (parameters.private_data != nullptr) {
        out.private_data.size = std::min<std::uint32_t>(
            parameters.private_data_len, static_cast<std::uint32_t>(out.private_data.storage.size()));
        std::memcpy(out.private_data.storage.data(), parameters.private_data, out.private_data.size);
    }
    rdma_ack_cm_event(&event);
    if (copy.type == RDMA_CM_EVENT_CONNECT_REQUEST)
        return take_request(static_cast<verbs_listener&>(target_of(*listen_id)), *id, copy, out);
    return target_of(*id).on_event(copy, out);
}

bool verbs_connection_channel::take_request(
    verbs_listener& listener, rdma_cm_id& id, const cm_event& event, connection_event& out)
{
    try {
        out.incoming
            = std::make_unique<verbs_connection>(*this, id, listener.handshake_timeout(), event.initiator_depth);
    } catch (const std::bad_alloc&) {
        listener.count_refusal();
        owner_.log().error("a connect request is refused: out of memory");
        rdma_reject(&id, nullptr, 0);
        rdma_destroy_id(&id);
        return false;
    }
    out.type = connection_event_type::connect_request;
    return true;
}

} // namespace penstock::fabric::verbs
