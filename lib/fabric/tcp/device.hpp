#pragma once

// The device "tcp": one per open(), with its own keys.

#include "fabric/tcp/descriptor.hpp"
#include "fabric/tcp/key_table.hpp"

#include <penstock/core/clock.hpp>
#include <penstock/core/log.hpp>
#include <penstock/fabric/device.hpp>
#include <penstock/fabric/tcp.hpp>

#include <atomic>
#include <mutex>
#include <vector>

namespace penstock::fabric::tcp {

inline constexpr std::string_view device_name = "tcp";

device_info describe_device();
/// The options with every default filled in.
tcp_options with_defaults(tcp_options options) noexcept;

class device final : public fabric::device {
public:
    device(const tcp_options& options, unique_descriptor event);
    ~device() override = default;

    const device_info& info() const noexcept override { return info_; }
    const device_limits& limits() const noexcept override { return limits_; }
    capabilities supports() const noexcept override;
    result<std::unique_ptr<protection_domain>> allocate_protection_domain() override;
    result<std::unique_ptr<fabric::completion_queue>> create_completion_queue(std::uint32_t depth) override;
    std::size_t poll_events(std::span<device_event> out) override;
    int event_descriptor() const noexcept override { return event_.get(); }
    device_statistics statistics() const noexcept override
    {
        return {protocol_errors_.load(std::memory_order_relaxed)};
    }

    key_table& keys() noexcept { return keys_; }
    clock& time() const noexcept { return *options_.time; }
    const logger& log() const noexcept { return log_; }
    const tcp_options& options() const noexcept { return options_; }
    std::uint32_t next_queue_pair_number() noexcept { return next_number_.fetch_add(1, std::memory_order_relaxed); }
    void report(const device_event& event) noexcept;
    void count_protocol_error(std::uint32_t queue_pair, const char* what) noexcept;

private:
    static constexpr std::size_t events_max = 256; // later ones are dropped

    tcp_options options_;
    logger log_;
    device_info info_;
    device_limits limits_;
    key_table keys_;
    unique_descriptor event_;
    std::atomic<std::uint32_t> next_number_{1};
    std::atomic<std::uint32_t> next_domain_{1};
    std::atomic<std::uint64_t> protocol_errors_{0};
    std::mutex mutex_; // guards what follows
    std::vector<device_event> events_;
};

} // namespace penstock::fabric::tcp
