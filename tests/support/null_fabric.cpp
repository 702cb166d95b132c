#include "support/null_fabric.hpp"

#include <string_view>
#include <vector>

#include <sys/eventfd.h>
#include <unistd.h>

namespace penstock::test {
namespace {

using namespace penstock::fabric;

/// A ring of ids. A queue pair never posts beyond its depth, and the depths of a queue's pairs were reserved.
class null_queue final : public completion_queue {
public:
    explicit null_queue(std::uint32_t depth)
        : ring_(depth)
    {}
    ~null_queue() override { ::close(descriptor_); }

    bool room(std::size_t more) const noexcept { return put_ - taken_ + more <= ring_.size(); }

    void put(std::uint64_t id) noexcept
    {
        ring_[put_++ % ring_.size()] = id;
        if (armed_) {
            armed_ = false;
            (void)::eventfd_write(descriptor_, 1);
        }
    }

    std::size_t poll(std::span<work_completion> out) override
    {
        std::size_t count = 0;
        for (; count != out.size() && taken_ != put_; ++count, ++taken_) {
            out[count] = work_completion{};
            out[count].id = ring_[taken_ % ring_.size()];
        }
        return count;
    }

    error_code arm(bool) override
    {
        armed_ = true;
        return {};
    }
    void acknowledge() override
    {
        eventfd_t value = 0;
        (void)::eventfd_read(descriptor_, &value);
    }
    int descriptor() const noexcept override { return descriptor_; }
    std::size_t depth() const noexcept override { return ring_.size(); }

private:
    std::vector<std::uint64_t> ring_;
    std::uint64_t put_ = 0;
    std::uint64_t taken_ = 0;
    bool armed_ = false;
    int descriptor_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
};

class null_pair final : public queue_pair {
public:
    explicit null_pair(null_queue& completions)
        : completions_(completions)
    {}

    post_result post_send(std::span<const send_request> requests) override
    {
        if (!completions_.room(requests.size())) {
            return {0, errc::send_queue_full};
        }
        for (const auto& request : requests) {
            if (request.signaled) {
                completions_.put(request.id);
            }
        }
        return {requests.size(), {}};
    }

    post_result post_receive(std::span<const receive_request> requests) override { return {requests.size(), {}}; }
    error_code move_to_error() override
    {
        state_ = queue_pair_state::error;
        return {};
    }
    queue_pair_state state() const noexcept override { return state_; }
    std::uint32_t number() const noexcept override { return 1; }
    std::uint32_t inline_bytes_max() const noexcept override { return 0; }

private:
    null_queue& completions_;
    queue_pair_state state_ = queue_pair_state::ready_to_send;
};

class null_region final : public memory_region {
public:
    explicit null_region(std::span<std::byte> bytes)
        : bytes_(bytes)
    {}
    std::span<std::byte> bytes() const noexcept override { return bytes_; }
    std::uint32_t lkey() const noexcept override { return 1; }
    std::uint32_t rkey() const noexcept override { return 1; }
    error_code deregister() override { return {}; }

private:
    std::span<std::byte> bytes_;
};

class null_domain final : public protection_domain {
public:
    result<std::unique_ptr<memory_region>> register_memory(std::span<std::byte> bytes, access) override
    {
        return std::unique_ptr<memory_region>(std::make_unique<null_region>(bytes));
    }
    result<std::unique_ptr<memory_window>> allocate_window() override { return make_error_code(errc::not_supported); }
    result<std::unique_ptr<shared_receive_queue>> create_shared_receive_queue(
        const shared_receive_queue_options&) override
    {
        return make_error_code(errc::not_supported);
    }
    result<std::unique_ptr<queue_pair>> create_queue_pair(const queue_pair_options& options) override
    {
        return std::unique_ptr<queue_pair>(
            std::make_unique<null_pair>(static_cast<null_queue&>(*options.send_completions)));
    }
};

class null_device final : public device {
public:
    null_device()
    {
        info_.name = "null";
        info_.kind = transport::sim;
        info_.state = "active";
        limits_.message_bytes_max = std::uint64_t{1} << 31U;
        limits_.region_bytes_max = ~std::uint64_t{0};
        limits_.queue_pairs_max = limits_.regions_max = 1'024;
        limits_.send_depth_max = limits_.receive_depth_max = limits_.completion_queue_depth_max = 1U << 16U;
        limits_.segments_max = 16;
        limits_.reads_and_atomics_max = 255;
    }
    const device_info& info() const noexcept override { return info_; }
    const device_limits& limits() const noexcept override { return limits_; }
    capabilities supports() const noexcept override { return {}; }
    result<std::unique_ptr<protection_domain>> allocate_protection_domain() override
    {
        return std::unique_ptr<protection_domain>(std::make_unique<null_domain>());
    }
    result<std::unique_ptr<completion_queue>> create_completion_queue(std::uint32_t depth) override
    {
        return std::unique_ptr<completion_queue>(std::make_unique<null_queue>(depth));
    }
    std::size_t poll_events(std::span<device_event>) override { return 0; }
    int event_descriptor() const noexcept override { return -1; }

private:
    device_info info_;
    device_limits limits_;
};

class null_provider final : public provider {
public:
    transport kind() const noexcept override { return transport::sim; }
    std::vector<device_info> devices() const override { return {null_device().info()}; }
    result<std::unique_ptr<device>> open(std::string_view) override
    {
        return std::unique_ptr<device>(std::make_unique<null_device>());
    }
    result<std::unique_ptr<connection_channel>> create_connection_channel() override
    {
        return make_error_code(errc::not_supported);
    }
};

} // namespace

std::unique_ptr<fabric::provider> make_null_provider()
{
    return std::make_unique<null_provider>();
}

} // namespace penstock::test
