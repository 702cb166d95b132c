#pragma once

// The devices of this machine as the kernel lists them.

#include "fabric/verbs/path_choice.hpp"

#include <infiniband/verbs.h>

namespace penstock::fabric::verbs {

/// ibv_get_device_list with an end. The devices in it may be opened while it lives.
class device_list {
public:
    device_list() noexcept;
    device_list(const device_list&) = delete;
    device_list& operator=(const device_list&) = delete;
    ~device_list();

    std::span<ibv_device* const> devices() const noexcept { return {list_, count_}; }

private:
    ibv_device** list_ = nullptr;
    std::size_t count_ = 0;
};

/// Ports and GIDs of an open device, with what is known of their network interfaces.
device_report report_on(ibv_context& context);

/// What there is to say about an open device, and what to use of it.
device_info describe(ibv_context& context, const path_wish& wish);

} // namespace penstock::fabric::verbs
