#include "fabric/verbs/window_table.hpp"
#include "support/catch.hpp"

#include <vector>

using namespace penstock::fabric::verbs;

TEST_CASE("the table knows the bound windows and counts them at their region", "[verbs]")
{
    std::atomic<std::uint32_t> holders{0};
    window_table table;
    std::vector<window_entry> windows(100);
    for (std::uint32_t i = 0; i < 100; ++i)
        table.insert(windows[i], i << 8U | 3U, holders);
    CHECK(holders == 100);
    CHECK(table.find(5U << 8U | 3U) == &windows[5]);
    CHECK(table.find(5U << 8U | 4U) == nullptr);
    table.remove(windows[5]);
    CHECK(table.find(5U << 8U | 3U) == nullptr);
    CHECK(windows[5].table == nullptr);
    CHECK(windows[5].last_holders == &holders);
    CHECK(holders == 99);
    table.insert(windows[5], 5U << 8U | 4U, holders);
    CHECK(table.find(5U << 8U | 4U) == &windows[5]);
    std::size_t seen = 0;
    table.remove_all([&](window_entry&) { ++seen; });
    CHECK(seen == 100);
    CHECK(holders == 0);
}
