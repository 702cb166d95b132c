#pragma once

#include "fabric/verbs/connection.hpp"

#include <penstock/fabric/connection.hpp>

#include <rdma/rdma_cma.h>

#include <atomic>

namespace penstock::fabric::verbs {

class verbs_connection_channel;

/// The kernel keeps the handshakes that have not been told yet, at most `backlog` of them, and refuses them when the
/// listener is destroyed.
class verbs_listener final : public listener, public cm_target {
public:
    static result<std::unique_ptr<listener>> create(
        verbs_connection_channel& channel, const endpoint& local, const listen_options& options);
    ~verbs_listener() override;

    endpoint local_endpoint() const noexcept override;
    std::uint64_t refused_handshakes() const noexcept override { return refused_.load(std::memory_order_relaxed); }

    /// Its device going away, for example: connect requests are told as new connections, and nothing else is.
    bool on_event(const cm_event&, connection_event&) override { return false; }

    std::chrono::milliseconds handshake_timeout() const noexcept { return handshake_timeout_; }
    void count_refusal() noexcept { refused_.fetch_add(1, std::memory_order_relaxed); }

private:
    explicit verbs_listener(const listen_options& options) noexcept
        : handshake_timeout_(options.handshake_timeout)
    {}

    rdma_cm_id* id_ = nullptr;
    std::chrono::milliseconds handshake_timeout_;
    std::atomic<std::uint64_t> refused_{0};
};

} // namespace penstock::fabric::verbs
