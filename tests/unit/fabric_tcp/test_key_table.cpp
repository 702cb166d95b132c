#include "fabric/tcp/key_table.hpp"
#include "support/catch.hpp"

#include <thread>

namespace penstock::fabric::tcp {

namespace {

struct table {
    seeded_random_source random{7};
    key_table keys{random};

    std::uint32_t add(key_grant grant)
    {
        std::uint32_t index = 0;
        REQUIRE(keys.reserve(index));
        const auto key = keys.fresh_key(index);
        keys.enliven(key, grant);
        return key;
    }
    bool reaches(const key_request& request)
    {
        auto* entry = keys.enter(request);
        if (entry)
            key_table::leave(*entry);
        return entry != nullptr;
    }
};

constexpr access read_write = access::local_write | access::remote_write | access::remote_read | access::window_bind;

key_grant region_grant()
{
    return {key_kind::region, read_write, 1, 0, 0, 0x1000, 0x100};
}

key_request remote(std::uint32_t key, std::uint64_t address, std::uint64_t length, access rights = access::remote_read)
{
    return {key, address, length, rights, 1, 5, true};
}

} // namespace

TEST_CASE("a key reaches its range and nothing else")
{
    table t;
    const auto key = t.add(region_grant());
    CHECK(t.reaches(remote(key, 0x1000, 0x100)));
    CHECK(t.reaches(remote(key, 0x10ff, 1)));
    CHECK_FALSE(t.reaches(remote(key, 0xfff, 1)));
    CHECK_FALSE(t.reaches(remote(key, 0x10ff, 2)));
    CHECK_FALSE(t.reaches(remote(key, 0x1100, 1)));
    CHECK_FALSE(t.reaches(remote(key, 0x1080, ~0ULL)));
    CHECK_FALSE(t.reaches(remote(key, ~0ULL, 2)));
    CHECK_FALSE(t.reaches(remote(key, 0x1000, 1, access::remote_atomic)));
    auto other_domain = remote(key, 0x1000, 1);
    other_domain.domain = 2;
    CHECK_FALSE(t.reaches(other_domain));
    CHECK_FALSE(t.reaches(remote(key ^ 1U, 0x1000, 1)));
    CHECK_FALSE(t.reaches(remote(key + 0x100, 0x1000, 1)));
    CHECK_FALSE(t.reaches(remote(0xffffffff, 0x1000, 1)));
}

TEST_CASE("a window's key is its queue pair's alone, and never a local key")
{
    table t;
    const auto region = t.add(region_grant());
    const key_request bind{region, 0x1000, 0x10, access::window_bind, 1, 5, false};
    REQUIRE(t.keys.bind(region, bind));
    const auto window = t.add({key_kind::window, access::remote_read, 1, 5, region, 0x1000, 0x10});
    CHECK(t.reaches(remote(window, 0x1000, 0x10)));
    CHECK_FALSE(t.reaches(remote(window, 0x1000, 0x11)));
    auto stranger = remote(window, 0x1000, 1);
    stranger.queue_pair = 6;
    CHECK_FALSE(t.reaches(stranger));
    auto local = remote(window, 0x1000, 1, access::none);
    local.remote = false;
    CHECK_FALSE(t.reaches(local));

    CHECK(t.keys.end_region(region) == errc::region_in_use);
    CHECK_FALSE(t.keys.end_window(window, 6));
    CHECK(t.keys.end_window(window, 5));
    CHECK_FALSE(t.keys.end_window(window, 5));
    CHECK_FALSE(t.reaches(remote(window, 0x1000, 1)));
    CHECK_FALSE(t.keys.end_region(region));
    CHECK_FALSE(t.reaches(remote(region, 0x1000, 1)));
    CHECK_FALSE(t.keys.bind(region, bind));
}

TEST_CASE("no key is ever zero, whatever the tags")
{
    table t;
    for (int round = 0; round != 1'000; ++round) {
        std::uint32_t index = 0;
        REQUIRE(t.keys.reserve(index));
        REQUIRE(t.keys.fresh_key(index) != 0);
        t.keys.release(index);
    }
}

TEST_CASE("a reused index has another key")
{
    table t;
    const auto first = t.add(region_grant());
    REQUIRE_FALSE(t.keys.end_region(first));
    t.keys.release(first >> 8U);
    const auto second = t.add(region_grant());
    REQUIRE(first >> 8U == second >> 8U);
    CHECK(first != second);
    CHECK_FALSE(t.reaches(remote(first, 0x1000, 1)));
    CHECK(t.reaches(remote(second, 0x1000, 1)));
}

TEST_CASE("ending a key waits for whoever is inside")
{
    table t;
    const auto key = t.add(region_grant());
    auto* entry = t.keys.enter(remote(key, 0x1000, 1));
    REQUIRE(entry);
    std::atomic<bool> begun{false};
    std::atomic<bool> ended{false};
    std::thread other([&] {
        begun = true;
        t.keys.end_region(key);
        ended = true;
    });
    while (!begun || t.reaches(remote(key, 0x1000, 1)))
        std::this_thread::yield();
    // Dead to newcomers, and still not ended.
    for (int i = 0; i != 1'000; ++i) {
        CHECK_FALSE(ended);
        std::this_thread::yield();
    }
    key_table::leave(*entry);
    other.join();
    CHECK(ended);
}

TEST_CASE("keys held for a system call are entered once and all left")
{
    table t;
    const auto one = t.add(region_grant());
    const auto two = t.add(region_grant());
    {
        held_keys held;
        REQUIRE(held.enter(t.keys, remote(one, 0x1000, 8)));
        REQUIRE(held.enter(t.keys, remote(one, 0x1008, 8)));
        CHECK(held.count() == 1);
        CHECK_FALSE(held.enter(t.keys, remote(one, 0x10ff, 8)));
        REQUIRE(held.enter(t.keys, remote(two, 0x1000, 8)));
        CHECK(held.count() == 2);
    }
    // Would wait for ever if one were still inside.
    CHECK_FALSE(t.keys.end_region(one));
    CHECK_FALSE(t.keys.end_region(two));
}

} // namespace penstock::fabric::tcp
