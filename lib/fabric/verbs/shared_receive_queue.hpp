#pragma once

#include <penstock/fabric/queue_pair.hpp>

#include <infiniband/verbs.h>

#include <memory>

namespace penstock::fabric::verbs {

class verbs_device;

class verbs_shared_receive_queue final : public shared_receive_queue {
public:
    static result<std::unique_ptr<shared_receive_queue>> create(
        verbs_device& device, ibv_pd& domain, const shared_receive_queue_options& options);
    verbs_shared_receive_queue(verbs_device& device, ibv_srq& queue, std::uint32_t segments_max) noexcept
        : device_(device)
        , queue_(queue)
        , segments_max_(segments_max)
    {}
    ~verbs_shared_receive_queue() override;

    post_result post_receive(std::span<const receive_request> requests) override;

    ibv_srq& native() const noexcept { return queue_; }

private:
    verbs_device& device_;
    ibv_srq& queue_;
    std::uint32_t segments_max_;
};

} // namespace penstock::fabric::verbs
