#include "memory/numa.hpp"

#include <fstream>

namespace penstock::memory {

int numa_node_of(std::string_view rdma_device, const std::filesystem::path& sys)
{
    if (!std::filesystem::exists(sys / "devices/system/node/node1")) {
        return -1;
    }
    std::ifstream told(sys / "class/infiniband" / rdma_device / "device/numa_node");
    int node = -1;
    return told >> node ? node : -1; // a software device has no such file
}

} // namespace penstock::memory
