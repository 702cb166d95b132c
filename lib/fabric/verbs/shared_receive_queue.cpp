#include "fabric/verbs/shared_receive_queue.hpp"

#include <penstock/core/fork.hpp>

#include "fabric/verbs/device.hpp"
#include "fabric/verbs/errors.hpp"
#include "fabric/verbs/post_receive.hpp"
#include "fabric/verbs/provider.hpp"

#include <algorithm>
#include <cerrno>
#include <limits>

namespace penstock::fabric::verbs {

result<std::unique_ptr<shared_receive_queue>> verbs_shared_receive_queue::create(
    verbs_device& device, ibv_pd& domain, const shared_receive_queue_options& options)
{
    const device_limits& limits = device.limits();
    if (options.receive_depth == 0 || options.receive_depth > limits.shared_receive_depth_max
        || options.receive_segments_max > limits.segments_max)
        return make_error_code(errc::invalid_argument);
    const auto segments_max = std::max(1U, options.receive_segments_max);
    ibv_srq_init_attr attributes{};
    attributes.attr.max_wr = options.receive_depth;
    attributes.attr.max_sge = segments_max;
    ibv_srq* const queue = ibv_create_srq(&domain, &attributes);
    if (queue == nullptr)
        return error_from_errno(errno);
    return std::unique_ptr<shared_receive_queue>(
        std::make_unique<verbs_shared_receive_queue>(device, *queue, segments_max));
}

verbs_shared_receive_queue::~verbs_shared_receive_queue()
{
    if (core::forked())
        return; // the parent's: the device must not hear of it
    if (ibv_destroy_srq(&queue_) != 0)
        device_.owner().log().error("destroying a shared receive queue failed: queue pairs still use it");
}

post_result verbs_shared_receive_queue::post_receive(std::span<const receive_request> requests)
{
    if (core::forked())
        return {0, errc::forked};
    return post_receives(requests, segments_max_, std::numeric_limits<std::size_t>::max(),
        [this](ibv_recv_wr* first, ibv_recv_wr** bad) { return ibv_post_srq_recv(&queue_, first, bad); });
}

} // namespace penstock::fabric::verbs
