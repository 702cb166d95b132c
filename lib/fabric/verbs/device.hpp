#pragma once

#include "fabric/verbs/path_choice.hpp"

#include <infiniband/verbs.h>

#include <atomic>

namespace penstock::fabric::verbs {

class verbs_provider;

class verbs_device final : public device {
public:
    /// Takes over `context` and closes it, also on failure.
    static result<std::unique_ptr<device>> adopt(verbs_provider& owner, ibv_context& context, const path_wish& wish);

    ~verbs_device() override;

    const device_info& info() const noexcept override { return info_; }
    const device_limits& limits() const noexcept override { return limits_; }
    capabilities supports() const noexcept override { return capabilities_; }
    result<std::unique_ptr<protection_domain>> allocate_protection_domain() override;
    result<std::unique_ptr<completion_queue>> create_completion_queue(std::uint32_t depth) override;
    std::size_t poll_events(std::span<device_event> out) override;
    int event_descriptor() const noexcept override { return event_set_; }

    /// A completion queue could not be polled: told once as completion_queue_error. Any thread.
    void report_completion_queue_error() noexcept;

    /// Whether a connection that rdma_cm leads over this port and GID goes the way the user insisted on, if any.
    /// Errors: no_device (it does not; the log says what to do), or errno.
    error_code check_path(std::uint8_t port, std::uint8_t gid_index) const;

    verbs_provider& owner() const noexcept { return owner_; }
    ibv_context& context() const noexcept { return context_; }
    /// SoftRoCE of the kernels known so far panics on what real devices refuse.
    bool is_soft_roce() const noexcept { return soft_roce_; }

private:
    verbs_device(verbs_provider& owner, ibv_context& context);
    error_code initialise(const path_wish& wish);
    error_code make_event_set();
    void read_limits(const ibv_device_attr& attributes);
    void read_capabilities(const ibv_device_attr& attributes);
    void probe_inline();

    verbs_provider& owner_;
    ibv_context& context_;
    device_info info_;
    std::optional<ibv_gid_entry> insisted_; ///< the GID that was asked for, by its value: its index may change
    std::optional<std::uint32_t> insisted_port_;
    device_limits limits_;
    capabilities capabilities_;
    bool soft_roce_ = false;
    int event_set_ = -1; ///< epoll: the device's own descriptor and wake_
    int wake_ = -1;      ///< eventfd
    std::atomic<bool> completion_queue_failed_{false};
};

} // namespace penstock::fabric::verbs
