#include "memory/numa.hpp"

#include "support/catch.hpp"

#include <filesystem>
#include <fstream>
#include <string>

#include <unistd.h>

using penstock::memory::numa_node_of;

TEST_CASE("a device's NUMA node, where there is more than one")
{
    namespace fs = std::filesystem;
    const auto sys = fs::temp_directory_path() / ("penstock_numa_" + std::to_string(::getpid()));
    fs::create_directories(sys / "devices/system/node/node0");
    fs::create_directories(sys / "class/infiniband/mlx5_0/device");
    std::ofstream(sys / "class/infiniband/mlx5_0/device/numa_node") << "1\n";
    CHECK(numa_node_of("mlx5_0", sys) == -1);
    fs::create_directories(sys / "devices/system/node/node1");
    CHECK(numa_node_of("mlx5_0", sys) == 1);
    CHECK(numa_node_of("rxe0", sys) == -1);
    fs::remove_all(sys);
}
