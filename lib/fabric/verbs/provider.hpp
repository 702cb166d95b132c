#pragma once

// The root of the verbs objects: clock, log and the one lock they share.
//
// Ownership: provider -> device -> protection domain -> region, window, shared receive queue, queue pair
//                               -> completion queue
//            provider -> connection channel -> listener, connection
// Children hold plain references upward and are destroyed first.

#include <penstock/fabric/verbs.hpp>

#include <mutex>

namespace penstock::fabric::verbs {

class verbs_provider final : public provider {
public:
    explicit verbs_provider(const verbs_options& options);

    transport kind() const noexcept override { return transport::verbs; }
    std::vector<device_info> devices() const override;
    result<std::unique_ptr<device>> open(std::string_view name) override;
    result<std::unique_ptr<connection_channel>> create_connection_channel() override;

    clock& time() const noexcept { return *time_; }
    const logger& log() const noexcept { return log_; }

    /// Held while a connection and its queue pair look at each other: they are destroyed by different threads, in
    /// either order. A poll takes it at the first failed completion of a queue pair, and otherwise never; no post does.
    std::mutex& link_mutex() noexcept { return link_mutex_; }

private:
    clock* time_;
    logger log_;
    std::mutex link_mutex_;
};

} // namespace penstock::fabric::verbs
