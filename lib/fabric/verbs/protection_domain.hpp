#pragma once

#include <penstock/fabric/memory.hpp>

#include <infiniband/verbs.h>

namespace penstock::fabric::verbs {

class verbs_device;

class verbs_protection_domain final : public protection_domain {
public:
    verbs_protection_domain(verbs_device& device, ibv_pd& domain) noexcept
        : device_(device)
        , domain_(domain)
    {}
    ~verbs_protection_domain() override;

    result<std::unique_ptr<memory_region>> register_memory(std::span<std::byte> bytes, access rights) override;
    result<std::unique_ptr<memory_window>> allocate_window() override;
    result<std::unique_ptr<shared_receive_queue>> create_shared_receive_queue(
        const shared_receive_queue_options& options) override;
    result<std::unique_ptr<queue_pair>> create_queue_pair(const queue_pair_options& options) override;

private:
    verbs_device& device_;
    ibv_pd& domain_;
};

} // namespace penstock::fabric::verbs
