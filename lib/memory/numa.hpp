#pragma once

#include <filesystem>
#include <string_view>

namespace penstock::memory {

/// The NUMA node an RDMA device is attached to; -1 when it says none, or when the machine has only one.
int numa_node_of(std::string_view rdma_device, const std::filesystem::path& sys = "/sys");

} // namespace penstock::memory
