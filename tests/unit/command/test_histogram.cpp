#include "penstock/histogram.hpp"

#include "support/catch.hpp"

#include <penstock/core/random.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

using penstock::command::histogram;

TEST_CASE("an empty histogram answers zero")
{
    const histogram empty;
    CHECK(empty.count() == 0);
    CHECK(empty.quantile(0.5) == 0);
    CHECK(empty.minimum() == 0);
    CHECK(empty.maximum() == 0);
}

TEST_CASE("small values are exact")
{
    histogram values;
    for (std::uint64_t i = 1; i <= 50; ++i) {
        values.add(i);
    }
    CHECK(values.quantile(0) == 1);
    CHECK(values.quantile(0.02) == 1);
    CHECK(values.quantile(0.5) == 25);
    CHECK(values.quantile(0.98) == 49);
    CHECK(values.quantile(1) == 50);
}

TEST_CASE("every value is known to 1/64 of itself")
{
    for (unsigned bit = 0; bit != 64; ++bit) {
        for (const std::uint64_t extra : {std::uint64_t{0}, std::uint64_t{1}, (std::uint64_t{1} << bit) - 1}) {
            const auto value
                = (std::uint64_t{1} << bit) + (bit == 0 ? 0 : std::min(extra, (std::uint64_t{1} << bit) - 1));
            histogram values;
            values.add(value);
            values.add(std::numeric_limits<std::uint64_t>::max()); // so that the maximum does not help
            const auto found = values.quantile(0.5);
            INFO("value " << value << " found " << found);
            CHECK(found >= value);
            CHECK(found - value <= value / 64);
        }
    }
}

TEST_CASE("quantiles agree with a sorted list")
{
    penstock::seeded_random_source random(7);
    histogram values;
    std::vector<std::uint64_t> sorted;
    for (int i = 0; i != 20'000; ++i) {
        // Spread over many magnitudes, as latencies are.
        const auto value = random.next() >> (20 + uniform_below(random, 40));
        values.add(value);
        sorted.push_back(value);
    }
    std::sort(sorted.begin(), sorted.end());
    CHECK(values.count() == sorted.size());
    CHECK(values.minimum() == sorted.front());
    CHECK(values.maximum() == sorted.back());
    for (const double share : {0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0}) {
        const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(sorted.size()))) - 1;
        const auto exact = sorted[rank];
        INFO("share " << share);
        CHECK(values.quantile(share) >= exact);
        CHECK(values.quantile(share) - exact <= exact / 64);
    }
}

TEST_CASE("a cleared histogram is empty")
{
    histogram values;
    values.add(5);
    values.clear();
    CHECK(values.count() == 0);
    CHECK(values.quantile(1) == 0);
}
