#include "fabric/tcp/descriptor.hpp"

#include <penstock/core/fork.hpp>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <limits>
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
    if (core::forked())
        return error_code(errc::forked);
    return checked(::epoll_create1(EPOLL_CLOEXEC));
}

result<unique_descriptor> make_event()
{
    if (core::forked())
        return error_code(errc::forked);
    return checked(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

result<unique_descriptor> make_timer()
{
    if (core::forked())
        return error_code(errc::forked);
    return checked(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
}

result<unique_descriptor> make_socket(const endpoint& of)
{
    if (core::forked())
        return error_code(errc::forked);
    return checked(::socket(of.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

void signal_event(int descriptor) noexcept
{
    if (core::forked())
        return;
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(descriptor, &one, sizeof one); // full means signalled
}

void clear_event(int descriptor) noexcept
{
    if (core::forked())
        return;
    std::uint64_t count = 0;
    [[maybe_unused]] const auto taken = ::read(descriptor, &count, sizeof count);
}

void arm_timer(int descriptor, std::int64_t delay_nanoseconds) noexcept
{
    if (core::forked())
        return;
    constexpr std::int64_t second = 1'000'000'000;
    const std::int64_t delay = delay_nanoseconds < 1 ? 1 : delay_nanoseconds; // zero would disarm it
    itimerspec when{};
    when.it_value.tv_sec = delay / second;
    when.it_value.tv_nsec = delay % second;
    ::timerfd_settime(descriptor, 0, &when, nullptr);
}

void disarm_timer(int descriptor) noexcept
{
    if (core::forked())
        return;
    const itimerspec never{};
    ::timerfd_settime(descriptor, 0, &never, nullptr);
}

error_code watch(int epoll, int descriptor, std::uint32_t events, std::uint64_t tag) noexcept
{
    if (core::forked())
        return error_code(errc::forked);
    epoll_event event{};
    event.events = events;
    event.data.u64 = tag;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) != 0)
        return make_system_error(errno);
    return {};
}

void rewatch(int epoll, int descriptor, std::uint32_t events, std::uint64_t tag) noexcept
{
    if (core::forked())
        return;
    epoll_event event{};
    event.events = events;
    event.data.u64 = tag;
    ::epoll_ctl(epoll, EPOLL_CTL_MOD, descriptor, &event);
}

void unwatch(int epoll, int descriptor) noexcept
{
    if (core::forked())
        return;
    ::epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, nullptr);
}

void tune_socket(int descriptor, std::uint32_t send_buffer_bytes, std::uint32_t receive_buffer_bytes) noexcept
{
    const auto set = [descriptor](int level, int option, int value) {
        ::setsockopt(descriptor, level, option, &value, sizeof value);
    };
    set(IPPROTO_TCP, TCP_NODELAY, 1);
    if (send_buffer_bytes != 0)
        set(SOL_SOCKET, SO_SNDBUF, static_cast<int>(send_buffer_bytes));
    if (receive_buffer_bytes != 0)
        set(SOL_SOCKET, SO_RCVBUF, static_cast<int>(receive_buffer_bytes));
}

namespace {

void set_option(int descriptor, int level, int option, std::int64_t value) noexcept
{
    const auto wide = static_cast<int>(std::clamp<std::int64_t>(value, 0, std::numeric_limits<int>::max()));
    ::setsockopt(descriptor, level, option, &wide, sizeof wide);
}

int get_option(int descriptor, int level, int option) noexcept
{
    int value = 0;
    socklen_t size = sizeof value;
    return ::getsockopt(descriptor, level, option, &value, &size) == 0 ? value : 0;
}

} // namespace

void apply_path(int descriptor, const path_options& path) noexcept
{
    if (path.traffic_class) {
        set_option(descriptor, IPPROTO_IP, IP_TOS, *path.traffic_class);
        set_option(descriptor, IPPROTO_IPV6, IPV6_TCLASS, *path.traffic_class);
    }
    set_option(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT, path.unacknowledged_max.count());
    set_option(descriptor, SOL_SOCKET, SO_KEEPALIVE, path.keep_alive.count() > 0 ? 1 : 0);
    set_option(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, path.keep_alive.count());
    set_option(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, path.keep_alive.count());
    set_option(descriptor, IPPROTO_TCP, TCP_KEEPCNT, path.keep_alive_probes);
}

path_options read_path(int descriptor) noexcept
{
    path_options path;
    const bool ipv6 = local_endpoint_of(descriptor).address().is_v6();
    path.traffic_class = static_cast<std::uint8_t>(
        ipv6 ? get_option(descriptor, IPPROTO_IPV6, IPV6_TCLASS) : get_option(descriptor, IPPROTO_IP, IP_TOS));
    path.unacknowledged_max = std::chrono::milliseconds(get_option(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT));
    const bool asks = get_option(descriptor, SOL_SOCKET, SO_KEEPALIVE) != 0;
    path.keep_alive = std::chrono::seconds(asks ? get_option(descriptor, IPPROTO_TCP, TCP_KEEPIDLE) : 0);
    path.keep_alive_probes = static_cast<std::uint8_t>(get_option(descriptor, IPPROTO_TCP, TCP_KEEPCNT));
    return path;
}

void discard_unread(int descriptor) noexcept
{
    auto left = static_cast<ssize_t>(get_option(descriptor, SOL_SOCKET, SO_RCVBUF));
    while (left > 0) {
        const auto gone = ::recv(descriptor, nullptr, static_cast<std::size_t>(left), MSG_DONTWAIT | MSG_TRUNC);
        if (gone <= 0)
            return;
        left -= gone;
    }
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
