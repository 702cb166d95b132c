#pragma once

// Takes a device's asynchronous events: ports that go down and come back, addresses that change.

#include <penstock/completion/poller.hpp>
#include <penstock/connection/runtime.hpp>

#include <cstdint>

namespace penstock::connection {

/// Keeps runtime_device::up and tells the log. Lanes are not failed: a request that meets a port that is down fails by itself when
/// its retries are used up, and one that comes back before that is only late.
///
/// Threads: the poller's. The device must outlive it.
class device_watch final : public completion::source {
public:
    device_watch(runtime_device& about, const logger& log)
        : about_(about)
        , log_(log)
    {}

    std::size_t turn() override;
    int descriptor() const noexcept override { return about_.device->event_descriptor(); }

private:
    void take(const fabric::device_event& event);

    runtime_device& about_;
    const logger& log_;
    std::uint32_t turns_ = 0;
};

} // namespace penstock::connection
