#pragma once

// Owned file descriptors and the few ways this provider makes them. All are close-on-exec.

#include <penstock/core/error.hpp>
#include <penstock/fabric/connection.hpp>

#include <utility>

namespace penstock::fabric::tcp {

class unique_descriptor {
public:
    unique_descriptor() = default;
    explicit unique_descriptor(int value) noexcept
        : value_(value)
    {}
    unique_descriptor(unique_descriptor&& other) noexcept
        : value_(std::exchange(other.value_, -1))
    {}
    unique_descriptor& operator=(unique_descriptor&& other) noexcept
    {
        std::swap(value_, other.value_);
        return *this;
    }
    ~unique_descriptor() { reset(); }

    int get() const noexcept { return value_; }
    explicit operator bool() const noexcept { return value_ >= 0; }
    void reset() noexcept;

private:
    int value_ = -1;
};

result<unique_descriptor> make_epoll();
result<unique_descriptor> make_event();
result<unique_descriptor> make_timer();
/// Non-blocking stream socket of the endpoint's family.
result<unique_descriptor> make_socket(const endpoint& of);

void signal_event(int descriptor) noexcept;
void clear_event(int descriptor) noexcept;
/// Fires once after the delay; at once when it is not positive.
void arm_timer(int descriptor, std::int64_t delay_nanoseconds) noexcept;
void disarm_timer(int descriptor) noexcept;

error_code watch(int epoll, int descriptor, std::uint32_t events, std::uint64_t tag) noexcept;
void rewatch(int epoll, int descriptor, std::uint32_t events, std::uint64_t tag) noexcept;
void unwatch(int epoll, int descriptor) noexcept;

/// No delay, buffer sizes; zero leaves the kernel's. Failures are not errors: the socket works, only slower.
void tune_socket(int descriptor, std::uint32_t send_buffer_bytes, std::uint32_t receive_buffer_bytes) noexcept;

/// Traffic class and how a dead peer is noticed.
void apply_path(int descriptor, const path_options& path) noexcept;
/// What the socket has of it.
path_options read_path(int descriptor) noexcept;

/// Closing with bytes unread becomes a reset, which may overtake what was written last. Throws away as much as the socket can hold:
/// a peer that goes on sending is not waited for.
void discard_unread(int descriptor) noexcept;

endpoint local_endpoint_of(int descriptor) noexcept;
endpoint remote_endpoint_of(int descriptor) noexcept;

} // namespace penstock::fabric::tcp
