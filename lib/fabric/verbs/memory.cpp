#include "fabric/verbs/memory.hpp"

#include <penstock/core/fork.hpp>

#include "fabric/verbs/device.hpp"
#include "fabric/verbs/errors.hpp"
#include "fabric/verbs/provider.hpp"

#include <sys/resource.h>

#include <cerrno>
#include <string>
#include <utility>

namespace penstock::fabric::verbs {
namespace {

/// ENOMEM says neither which memory nor which limit. With a limit on locked memory, that limit is what it is.
error_code registration_error(int errno_value) noexcept
{
    rlimit locked{};
    const bool limited = ::getrlimit(RLIMIT_MEMLOCK, &locked) == 0 && locked.rlim_cur != RLIM_INFINITY;
    if (errno_value == EPERM || (errno_value == ENOMEM && limited))
        return errc::registration_refused;
    return error_from_errno(errno_value);
}

} // namespace

int to_native(access rights) noexcept
{
    unsigned flags = 0;
    if (has_access(rights, access::local_write))
        flags |= IBV_ACCESS_LOCAL_WRITE;
    if (has_access(rights, access::remote_write))
        flags |= IBV_ACCESS_REMOTE_WRITE;
    if (has_access(rights, access::remote_read))
        flags |= IBV_ACCESS_REMOTE_READ;
    if (has_access(rights, access::remote_atomic))
        flags |= IBV_ACCESS_REMOTE_ATOMIC;
    if (has_access(rights, access::window_bind))
        flags |= IBV_ACCESS_MW_BIND;
    return static_cast<int>(flags);
}

result<std::unique_ptr<memory_region>> verbs_memory_region::create(
    verbs_device& device, ibv_pd& domain, std::span<std::byte> bytes, access rights)
{
    const bool remote_change = has_access(rights, access::remote_write) || has_access(rights, access::remote_atomic);
    if (bytes.empty() || bytes.size() > device.limits().region_bytes_max
        || (remote_change && !has_access(rights, access::local_write)))
        return make_error_code(errc::invalid_argument);
    ibv_mr* const region = ibv_reg_mr(&domain, bytes.data(), bytes.size(), to_native(rights));
    if (region == nullptr)
        return registration_error(errno);
    return std::unique_ptr<memory_region>(std::make_unique<verbs_memory_region>(device, bytes, *region));
}

verbs_memory_region::~verbs_memory_region()
{
    if (!core::forked()) { // else it is the parent's: the device must not hear of it
        if (const auto error = deregister())
            device_.owner().log().error("a memory region of " + std::to_string(bytes_.size())
                + " bytes is leaked and stays pinned: " + error.message());
    }
    if (windows_->load(std::memory_order_acquire) != 0)
        (void)windows_.release();
}

error_code verbs_memory_region::deregister()
{
    if (core::forked())
        return make_error_code(errc::forked);
    if (region_ == nullptr)
        return {};
    if (windows_->load(std::memory_order_acquire) != 0)
        return errc::region_in_use;
    if (const int error = ibv_dereg_mr(region_); error != 0) {
        // An invalidation that was posted but only flushed left its window bound; the device knows.
        if (error == EINVAL || error == EBUSY)
            return errc::region_in_use;
        return error_from_errno(error);
    }
    region_ = nullptr;
    return {};
}

verbs_memory_window::~verbs_memory_window()
{
    deallocate();
}

void verbs_memory_window::deallocate() noexcept
{
    if (table != nullptr)
        table->remove(*this);
    if (core::forked())
        return; // the parent's: the device must not hear of it
    ibv_mw* const window = std::exchange(window_, nullptr);
    if (window != nullptr && ibv_dealloc_mw(window) != 0)
        device_.owner().log().error("a memory window could not be deallocated: its key may still be good");
}

} // namespace penstock::fabric::verbs
