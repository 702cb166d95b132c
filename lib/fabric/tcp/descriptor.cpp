#include "fabric/tcp/descriptor.hpp"

#include <cerrno>
#include <ctime>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

namespace penstock::fabric::tcp {
namespace {

result<unique_descriptor> checked(int descriptor)
{
    if (descriptor < 0)
        return make_system_error(errno);
    return unique_descriptor(descriptor);
}

template <class Function>
endpoint name_of(int descriptor, Function function) noexcept
{
    endpoint name;
    auto size = static_cast<socklen_t>(name.capacity());
    if (function(descriptor, name.data(), &size) != 0)
        return {};
    return name;
}

} // namespace

void unique_descriptor::reset() noexcept
{
    if (value_ >= 0)
        ::close(value_);
    value_ = -1;
}

result<unique_descriptor> make_epoll()
{
    return checked(::epoll_create1(EPOLL_CLOEXEC));
}

result<unique_descriptor> make_event()
{
    return checked(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

result<unique_descriptor> make_timer()
{
    return checked(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
}

result<unique_descriptor> make_socket(const endpoint& of)
{
    return checked(::socket(of.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

void signal_event(int descriptor) noexcept
{
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(descriptor, &one, sizeof one); // full means signalled
}

void clear_event(int descriptor) noexcept
{
    std::uint64_t count = 0;
    [[maybe_unused]] const auto taken = ::read(descriptor, &count, sizeof count);
}

void arm_timer(int descriptor, std::int64_t delay_nanoseconds) noexcept
{
    constexpr std::int64_t second = 1'000'000'000;
    const std::int64_t delay = delay_nanoseconds < 1 ? 1 : delay_nanoseconds; // zero would disarm it
    itimerspec when{};
    when.it_value.tv_sec = delay / second;
    when.it_value.tv_nsec = delay % second;
    ::timerfd_settime(descriptor, 0, &when, nullptr);
}

void disarm_timer(int descriptor) noexcept
{
    const itimerspec never{};
    ::timerfd_settime(descriptor, 0, &never, nullptr);
}

error_code watch(int epoll, int descriptor, std::uint32_t events, std::uint64_t tag) noexcept
{
    epoll_event event{};
    event.events = events;
    event.data.u64 = tag;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) != 0)
        return make_system_error(errno);
    return {};
}

void rewatch(int epoll, int descriptor, std::uint32_t events, std::uint64_t tag) noexcept
{
    epoll_event event{};
    event.events = events;
    event.data.u64 = tag;
    ::epoll_ctl(epoll, EPOLL_CTL_MOD, descriptor, &event);
}

void unwatch(int epoll, int descriptor) noexcept
{
    ::epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, nullptr);
}

void tune_socket(int descriptor, std::uint32_t send_buffer_bytes, std::uint32_t receive_buffer_bytes) noexcept
{
    const auto set = [descriptor](int level, int option, int value) {
        ::setsockopt(descriptor, level, option, &value, sizeof value);
    };
    set(IPPROTO_TCP, TCP_NODELAY, 1);
    // A machine that is gone is noticed on an idle connection within three seconds. No TCP_USER_TIMEOUT: it would
    // also end a connection whose peer is alive but has not polled for that long.
    set(SOL_SOCKET, SO_KEEPALIVE, 1);
    set(IPPROTO_TCP, TCP_KEEPIDLE, 1);
    set(IPPROTO_TCP, TCP_KEEPINTVL, 1);
    set(IPPROTO_TCP, TCP_KEEPCNT, 2);
    if (send_buffer_bytes != 0)
        set(SOL_SOCKET, SO_SNDBUF, static_cast<int>(send_buffer_bytes));
    if (receive_buffer_bytes != 0)
        set(SOL_SOCKET, SO_RCVBUF, static_cast<int>(receive_buffer_bytes));
}

void set_traffic_class(int descriptor, std::uint8_t value) noexcept
{
    const int wide = value;
    ::setsockopt(descriptor, IPPROTO_IP, IP_TOS, &wide, sizeof wide);
    ::setsockopt(descriptor, IPPROTO_IPV6, IPV6_TCLASS, &wide, sizeof wide);
}

endpoint local_endpoint_of(int descriptor) noexcept
{
    return name_of(descriptor, ::getsockname);
}

endpoint remote_endpoint_of(int descriptor) noexcept
{
    return name_of(descriptor, ::getpeername);
}

} // namespace penstock::fabric::tcp
