#pragma once

// RoCE, InfiniBand and SoftRoCE alike, by libibverbs and librdmacm.

#include <penstock/core/clock.hpp>
#include <penstock/core/log.hpp>
#include <penstock/fabric/device.hpp>

#include <memory>

namespace penstock::fabric {

struct verbs_options {
    clock* time = nullptr; ///< null: the system's
    logger log{};
};

/// A provider also where there is no device: devices() is empty and open() fails with errc::no_device.
/// Calls ibv_fork_init the first time, where the kernel does not copy registered pages for a forked child.
std::unique_ptr<provider> make_verbs_provider(const verbs_options& options = {});

} // namespace penstock::fabric
