#include "fake_domain.hpp"

#include "support/catch.hpp"

#include <penstock/memory/memory_pool.hpp>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <vector>

using namespace penstock;
using namespace penstock::memory;
using penstock::test::fake_domain;

namespace {

constexpr std::size_t KiB = 1'024;
constexpr std::size_t MiB = 1'024 * KiB;

memory_pool_options options_of(std::size_t slice, std::size_t arena, std::size_t most)
{
    memory_pool_options options;
    options.slice_bytes = slice;
    options.arena_bytes = arena;
    options.bytes_max = most;
    return options;
}

} // namespace

TEST_CASE("a buffer has the size that was asked for, its block the next power of two")
{
    fake_domain domain;
    memory_pool pool({&domain}, options_of(4 * KiB, MiB, 4 * MiB));
    for (const auto& [asked, block] : std::map<std::size_t, std::size_t>{
             {1, 4 * KiB}, {4 * KiB, 4 * KiB}, {4 * KiB + 1, 8 * KiB}, {100 * KiB, 128 * KiB}, {MiB, MiB}}) {
        const auto held = pool.acquire(asked).value();
        CHECK(held.size() == asked);
        CHECK(pool.statistics().bytes_in_use == block);
        CHECK(reinterpret_cast<std::uintptr_t>(held.data()) % (4 * KiB) == 0);
        CHECK(held.slice().region_bytes() == asked);
    }
    CHECK(pool.acquire(0).error() == errc::invalid_argument);
    CHECK(pool.acquire((std::size_t{2} << 30U) + 1).error() == errc::invalid_argument);
    CHECK(pool.statistics().bytes_in_use == 0);
    CHECK(pool.statistics().bytes_high_water == MiB);
    CHECK(domain.rights_seen == std::vector{fabric::access::local_write | fabric::access::window_bind});
}

TEST_CASE("what is split is merged again when something larger is wanted")
{
    fake_domain domain;
    memory_pool pool({&domain}, options_of(4 * KiB, MiB, MiB));
    {
        std::vector<buffer> small;
        for (std::size_t i = 0; i != MiB / (4 * KiB); ++i) {
            small.push_back(pool.acquire(4 * KiB).value());
        }
        CHECK(pool.acquire(1).error() == errc::pool_exhausted);
        // Every other one: half of the memory is free, and nothing larger than one of them.
        for (std::size_t i = 0; i < small.size(); i += 2) {
            const auto ended = std::move(small[i]);
        }
        CHECK(pool.acquire(8 * KiB).error() == errc::pool_exhausted);
        CHECK(pool.statistics().fragmentation > 0.99);
        CHECK(pool.acquire(4 * KiB).has_value());
    }
    CHECK(pool.statistics().fragmentation == 0);
    CHECK(pool.acquire(MiB).value().size() == MiB);
    CHECK(domain.regions == 1);
}

TEST_CASE("memory nobody uses makes room for something larger than any of it")
{
    fake_domain domain;
    memory_pool pool({&domain}, options_of(64 * KiB, 64 * KiB, 256 * KiB));
    std::vector<buffer> held;
    for (int i = 0; i != 4; ++i) {
        held.push_back(pool.acquire().value());
    }
    CHECK(domain.regions == 4);
    held.resize(2);
    CHECK(pool.acquire(256 * KiB).error() == errc::pool_exhausted);
    CHECK(domain.regions == 4); // dropping them would not have been enough
    CHECK(pool.acquire(128 * KiB).value().size() == 128 * KiB);
    CHECK(domain.bytes == 256 * KiB);
    CHECK(pool.statistics().bytes_registered == 256 * KiB);
    held.clear();
    CHECK(pool.acquire(256 * KiB).has_value());
    CHECK(domain.regions == 1);
}

TEST_CASE("the limit is one on pinned bytes, exactly")
{
    fake_domain domain;
    memory_pool pool({&domain}, options_of(4 * KiB, 64 * KiB, 100 * KiB));
    std::vector<buffer> held;
    for (;;) {
        auto next = pool.acquire();
        if (!next) {
            CHECK(next.error() == errc::pool_exhausted);
            break;
        }
        held.push_back(std::move(*next));
    }
    CHECK(held.size() == 25);
    CHECK(domain.bytes == 100 * KiB);
}

TEST_CASE("what is registered at once does not wait for the first buffer")
{
    fake_domain domain;
    auto options = options_of(4 * KiB, 64 * KiB, MiB);
    options.bytes_initial = 128 * KiB;
    memory_pool pool({&domain}, options);
    CHECK(domain.bytes == 128 * KiB);
    domain.refuse_at = 0;
    CHECK(pool.acquire(64 * KiB).has_value());
    domain.refuse_at = 0;
    CHECK_THROWS_AS(memory_pool({&domain}, options), system_error);
    CHECK(domain.bytes == 128 * KiB);
}

TEST_CASE("registration that fails on the second device leaves nothing on the first")
{
    fake_domain first;
    fake_domain second;
    second.refuse_at = 0;
    memory_pool pool({&first, &second}, options_of(4 * KiB, 64 * KiB, MiB));
    CHECK(pool.acquire().error() == errc::registration_refused);
    CHECK(first.regions == 0);
    CHECK(pool.statistics().bytes_registered == 0);
    CHECK(pool.acquire().has_value());
    CHECK(first.regions == 1);
}

TEST_CASE("a quarantined buffer is counted and never handed out again")
{
    fake_domain domain;
    memory_pool pool({&domain}, options_of(4 * KiB, 16 * KiB, 16 * KiB));
    auto doomed = pool.acquire().value();
    auto* const poison = doomed.data();
    pool.quarantine(std::move(doomed));
    pool.quarantine(buffer());
    CHECK(pool.statistics().in_use == 0);
    CHECK(pool.statistics().quarantined == 1);
    CHECK(pool.statistics().bytes_quarantined == 4 * KiB);
    std::vector<buffer> held;
    for (int i = 0; i != 3; ++i) {
        held.push_back(pool.acquire().value());
        CHECK(held.back().data() != poison);
    }
    CHECK(pool.acquire().error() == errc::pool_exhausted);
    held.clear();
    CHECK(pool.acquire(16 * KiB).error() == errc::pool_exhausted); // not merged, and its arena not dropped either
    CHECK(domain.bytes == 16 * KiB);
}

TEST_CASE("memory that a window still reaches outlives its pool")
{
    fake_domain domain;
    std::byte* data = nullptr;
    {
        memory_pool pool({&domain}, options_of(4 * KiB, 16 * KiB, 16 * KiB));
        auto held = pool.acquire().value();
        data = held.data();
        pool.quarantine(std::move(held));
        domain.windows_bound = true;
    }
    *data = std::byte{1}; // what a late write would do: still mapped
    CHECK(*data == std::byte{1});
}

TEST_CASE("a random mixture of sizes never overlaps, and everything comes back")
{
    fake_domain domain;
    memory_pool pool({&domain}, options_of(4 * KiB, 256 * KiB, 3 * MiB));
    std::mt19937 random(20'261'124); // NOLINT(cert-msc32-c,cert-msc51-cpp): the same every time
    std::map<std::byte*, buffer> held;
    std::uint64_t refused = 0;
    for (int step = 0; step != 20'000; ++step) {
        if (random() % 2 == 0 && !held.empty()) {
            auto any = held.begin();
            std::advance(any, static_cast<std::ptrdiff_t>(random() % held.size()));
            held.erase(any);
            continue;
        }
        auto next = pool.acquire(1 + random() % (std::size_t{4 * KiB} << random() % 8));
        if (!next) {
            CHECK(next.error() == errc::pool_exhausted);
            ++refused;
            continue;
        }
        auto* const data = next->data();
        const auto after = held.lower_bound(data);
        if (after != held.end()) {
            REQUIRE(data + next->size() <= after->first);
        }
        if (after != held.begin()) {
            REQUIRE(std::prev(after)->first + std::prev(after)->second.size() <= data);
        }
        held.emplace(data, std::move(*next));
    }
    CHECK(refused != 0);
    CHECK(domain.bytes <= 3 * MiB);
    held.clear();
    CHECK(pool.statistics().in_use == 0);
    CHECK(pool.statistics().bytes_in_use == 0);
    CHECK(pool.statistics().bytes_registered == domain.bytes);
    CHECK(pool.acquire(MiB).has_value());
}

TEST_CASE("statistics say what the pages are")
{
    fake_domain domain;
    auto options = options_of(4 * KiB, 4 * MiB, 64 * MiB);
    {
        memory_pool pool({&domain}, options);
        const auto held = pool.acquire(4 * MiB).value();
        const auto told = pool.statistics();
        CHECK(told.bytes_huge + told.bytes_transparent == 4 * MiB);
        CHECK(reinterpret_cast<std::uintptr_t>(held.data()) % (2 * MiB) == 0);
        std::fill(held.bytes().begin(), held.bytes().end(), std::byte{1});
    }
    options.huge_pages = false;
    memory_pool pool({&domain}, options);
    const auto held = pool.acquire().value();
    CHECK(pool.statistics().bytes_huge + pool.statistics().bytes_transparent == 0);
    CHECK(pool.statistics().bytes_on_node == 0);
}
