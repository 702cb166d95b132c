#include "support/catch.hpp"

#include <penstock/fabric/tcp.hpp>
#include <penstock/memory/memory_pool.hpp>

#include <cstdint>
#include <limits>
#include <set>
#include <stdexcept>
#include <vector>

#include <unistd.h>

using namespace penstock;
using namespace penstock::memory;

namespace {

struct world {
    std::unique_ptr<fabric::provider> provider = fabric::make_tcp_provider();
    std::unique_ptr<fabric::device> device = provider->open().value();
    std::unique_ptr<fabric::protection_domain> first = device->allocate_protection_domain().value();
    std::unique_ptr<fabric::protection_domain> second = device->allocate_protection_domain().value();

    std::vector<fabric::protection_domain*> domains() const { return {first.get(), second.get()}; }
};

const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));

} // namespace

TEST_CASE("a pool gives what its limit allows, no byte twice, and then pool_exhausted")
{
    world w;
    memory_pool pool(w.domains(), {2 * page, 4 * page, 8 * page});
    CHECK(pool.statistics().bytes_registered == 0);
    std::vector<buffer> held;
    std::set<std::byte*> starts;
    for (int i = 0; i != 4; ++i) {
        held.push_back(pool.acquire().value());
        CHECK(held.back().size() == 2 * page);
        CHECK(starts.insert(held.back().data()).second);
        std::fill(held.back().bytes().begin(), held.back().bytes().end(), static_cast<std::byte>(i));
    }
    for (std::size_t i = 0; i != held.size(); ++i) {
        CHECK(held[i].bytes().front() == static_cast<std::byte>(i));
        CHECK(held[i].bytes().back() == static_cast<std::byte>(i));
    }
    CHECK(pool.acquire().error() == errc::pool_exhausted);
    CHECK(pool.statistics().in_use == 4);
    CHECK(pool.statistics().bytes_registered == pool.statistics().bytes_max);

    auto* const returned = held.back().data();
    held.pop_back();
    CHECK(pool.statistics().in_use == 3);
    CHECK(pool.acquire().value().data() == returned);
    held.clear();
    CHECK(pool.statistics().in_use == 0);
    CHECK(pool.statistics().high_water == 4);
    CHECK(pool.statistics().bytes_registered == 8 * page);
}

TEST_CASE("sizes are rounded as the options say")
{
    world w;
    memory_pool pool(w.domains(), {page + 1, 1, 1});
    CHECK(pool.slice_bytes() == 2 * page);
    CHECK(pool.statistics().bytes_max == 2 * page);
    memory_pool exact(w.domains(), {page, 2 * page, 5 * page + 1});
    CHECK(exact.statistics().bytes_max == 5 * page);
}

TEST_CASE("sizes that a segment or an address space has no room for are refused")
{
    world w;
    constexpr auto most = std::numeric_limits<std::size_t>::max();
    CHECK_THROWS_AS(memory_pool(w.domains(), {(std::size_t{1} << 31U) + 1, page, page}), system_error);
    CHECK_THROWS_AS(memory_pool(w.domains(), {page, most, page}), system_error);
    CHECK_THROWS_AS(memory_pool(w.domains(), {page, page, most}), system_error);
}

TEST_CASE("a slice stays inside its buffer")
{
    world w;
    memory_pool pool(w.domains(), {page, page, page});
    const auto whole = pool.acquire().value();
    const auto part = whole.slice(16, 32);
    CHECK(part.data() == whole.data() + 16);
    CHECK(part.size() == 32);
    CHECK(part.slice(32, 0).empty());
    CHECK_THROWS_AS(part.slice(0, 33), std::out_of_range);
    CHECK_THROWS_AS(part.slice(33, 0), std::out_of_range);
    CHECK_THROWS_AS(part.slice(1, std::numeric_limits<std::size_t>::max()), std::out_of_range);
    CHECK_THROWS_AS(whole.slice(std::numeric_limits<std::size_t>::max(), 2), std::out_of_range);
}

TEST_CASE("a slice has a key on each device and never one for peers")
{
    world w;
    memory_pool pool(w.domains(), {page, page, page});
    const auto whole = pool.acquire().value();
    const auto segment = whole.slice(8, 8).segment(1);
    CHECK(segment.address == whole.data() + 8);
    CHECK(segment.length == 8);
    CHECK(segment.lkey == whole.slice().region(1)->lkey());
    CHECK(whole.slice().region(0) != whole.slice().region(1));
    CHECK(local_buffer().region(0) == nullptr);
    CHECK(local_buffer().segment(0).length == 0);
}

TEST_CASE("a buffer is moved, and comes back once")
{
    world w;
    memory_pool pool(w.domains(), {page, 2 * page, 2 * page});
    {
        auto a = pool.acquire().value();
        auto b = pool.acquire().value();
        auto* const data = a.data();
        buffer c(std::move(a));
        CHECK_FALSE(a); // NOLINT(bugprone-use-after-move): what is left is promised
        CHECK(c.data() == data);
        b = std::move(c);
        CHECK(b.data() == data);
    }
    CHECK(pool.statistics().in_use == 0);
    CHECK(pool.acquire().has_value());
}
