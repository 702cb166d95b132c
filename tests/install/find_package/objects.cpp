// Links the second library, with the umbrella header.

#include <penstock/penstock.hpp>

#include <cstdlib>

int main()
{
    const auto archive = penstock::storage::parse_uri("penstock://gateway:7471/shard-000.tar");
    return archive && archive->name == "shard-000.tar" ? EXIT_SUCCESS : EXIT_FAILURE;
}
