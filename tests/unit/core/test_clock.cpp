#include <penstock/core/clock.hpp>

#include "support/catch.hpp"

using namespace std::chrono_literals;

TEST_CASE("the system clock never goes back and does go on", "[clock]")
{
    auto& clock = penstock::system_clock_source();
    const auto first = clock.now();
    auto previous = first;
    for (int i = 0; i != 10'000; ++i) {
        const auto current = clock.now();
        REQUIRE(current >= previous);
        previous = current;
    }
    CHECK(previous > first);
}

TEST_CASE("the system clock is one object", "[clock]")
{
    CHECK(&penstock::system_clock_source() == &penstock::system_clock_source());
}

TEST_CASE("adding to an instant stops at never", "[clock]")
{
    using penstock::saturating_add;
    using penstock::time_point;
    using penstock::time_point_never;
    CHECK(saturating_add(time_point(5ns), 7ns) == time_point(12ns));
    CHECK(saturating_add(time_point_never, 0ns) == time_point_never);
    CHECK(saturating_add(time_point_never, 1ns) == time_point_never);
    CHECK(saturating_add(time_point_never - 1ns, 1ns) == time_point_never);
    CHECK(saturating_add(time_point_never - 2ns, 1ns) == time_point_never - 1ns);
    CHECK(saturating_add(time_point(1ns), penstock::duration::max()) == time_point_never);
}
