#include "fabric/verbs/protection_domain.hpp"

#include <penstock/core/fork.hpp>

#include "fabric/verbs/device.hpp"
#include "fabric/verbs/errors.hpp"
#include "fabric/verbs/memory.hpp"
#include "fabric/verbs/provider.hpp"
#include "fabric/verbs/queue_pair.hpp"
#include "fabric/verbs/shared_receive_queue.hpp"

#include <cerrno>

namespace penstock::fabric::verbs {

verbs_protection_domain::~verbs_protection_domain()
{
    if (core::forked())
        return; // the parent's: the device must not hear of it
    if (ibv_dealloc_pd(&domain_) != 0)
        device_.owner().log().error("a protection domain is leaked: objects of it are still alive");
}

result<std::unique_ptr<memory_region>> verbs_protection_domain::register_memory(
    std::span<std::byte> bytes, access rights)
{
    if (core::forked())
        return make_error_code(errc::forked);
    return verbs_memory_region::create(device_, domain_, bytes, rights);
}

result<std::unique_ptr<memory_window>> verbs_protection_domain::allocate_window()
{
    if (core::forked())
        return make_error_code(errc::forked);
    if (!device_.supports().has(capability::memory_windows))
        return make_error_code(errc::not_supported);
    ibv_mw* const window = ibv_alloc_mw(&domain_, IBV_MW_TYPE_2);
    if (window == nullptr)
        return error_from_errno(errno);
    return std::unique_ptr<memory_window>(std::make_unique<verbs_memory_window>(device_, *window));
}

result<std::unique_ptr<shared_receive_queue>> verbs_protection_domain::create_shared_receive_queue(
    const shared_receive_queue_options& options)
{
    if (core::forked())
        return make_error_code(errc::forked);
    return verbs_shared_receive_queue::create(device_, domain_, options);
}

result<std::unique_ptr<queue_pair>> verbs_protection_domain::create_queue_pair(const queue_pair_options& options)
{
    if (core::forked())
        return make_error_code(errc::forked);
    return verbs_queue_pair::create(device_, domain_, options);
}

} // namespace penstock::fabric::verbs
