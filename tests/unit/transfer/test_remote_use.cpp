#include "support/catch.hpp"

#include <penstock/core/random.hpp>
#include <penstock/transfer/remote_use.hpp>

#include <deque>
#include <map>

using namespace penstock;
using penstock::transfer::remote_use;

TEST_CASE("released is due when the last posted work on a revoked exposure has ended")
{
    remote_use use;
    REQUIRE_FALSE(use.begin(5).failed());
    REQUIRE_FALSE(use.begin(5).failed());
    CHECK_FALSE(use.revoke(5));
    CHECK(use.begin(5) == errc::exposure_revoked);
    CHECK_FALSE(use.begin(6).failed());
    CHECK_FALSE(use.end(5));
    CHECK(use.end(5));
    CHECK_FALSE(use.end(6));
    CHECK(use.in_use() == 0);
    CHECK(use.begin(5) == errc::exposure_revoked);
}

TEST_CASE("released is due at once when nothing is posted, and again when asked again")
{
    remote_use use;
    CHECK(use.revoke(7));
    CHECK(use.begin(7) == errc::exposure_revoked);
    CHECK(use.revoke(7));
    REQUIRE_FALSE(use.begin(8).failed());
    CHECK_FALSE(use.revoke(8));
    CHECK_FALSE(use.revoke(8));
    CHECK(use.end(8));
    CHECK_FALSE(use.revoke(0));
    CHECK_FALSE(use.begin(9).failed());
    CHECK_FALSE(use.end(9));
}

TEST_CASE("the bounds: exposures in use, and revoked ones remembered")
{
    remote_use use({2, 3});
    REQUIRE_FALSE(use.begin(1).failed());
    REQUIRE_FALSE(use.begin(2).failed());
    CHECK(use.begin(3) == errc::send_queue_full);
    CHECK_FALSE(use.begin(2).failed());
    CHECK_FALSE(use.end(2));
    CHECK_FALSE(use.end(2));
    CHECK_FALSE(use.begin(3).failed());

    CHECK_FALSE(use.revoke(1)); // in use: no place in the ring yet
    for (std::uint64_t id = 10; id != 13; ++id) {
        CHECK(use.revoke(id));
    }
    CHECK(use.begin(10) == errc::exposure_revoked);
    CHECK(use.end(1));
    CHECK(use.begin(1) == errc::exposure_revoked);
    CHECK_FALSE(use.begin(10).failed()); // the oldest is forgotten
    CHECK(use.begin(11) == errc::exposure_revoked);
}

TEST_CASE("a table under random use, with ids that collide, says what a map says")
{
    seeded_random_source random(20'261'124);
    constexpr std::size_t in_use_max = 20;
    constexpr std::size_t remembered = 30;
    remote_use use({in_use_max, remembered});
    std::map<std::uint64_t, std::uint32_t> users;
    std::map<std::uint64_t, bool> revoked;
    std::deque<std::uint64_t> ring;
    const auto remember = [&](std::uint64_t id) {
        ring.push_back(id);
        if (ring.size() > remembered) {
            revoked.erase(ring.front());
            ring.pop_front();
        }
    };
    for (int step = 0; step != 100'000; ++step) {
        // Multiples of a power of two fall into few places of the table.
        const std::uint64_t id = (1 + random.next() % 64) << ((random.next() % 2) * 57);
        const auto what = random.next() % 8;
        if (what < 4) {
            const bool full = users.count(id) == 0 && users.size() == in_use_max;
            const auto expected = revoked.count(id) != 0 ? make_error_code(errc::exposure_revoked)
                : full                                   ? make_error_code(errc::send_queue_full)
                                                         : error_code{};
            REQUIRE(use.begin(id) == expected);
            if (!expected.failed()) {
                ++users[id];
            }
        } else if (what < 7) {
            if (const auto found = users.find(id); found != users.end()) {
                const bool last = --found->second == 0;
                REQUIRE(use.end(id) == (last && revoked.count(id) != 0));
                if (last) {
                    users.erase(found);
                    if (revoked.count(id) != 0) {
                        remember(id);
                    }
                }
            }
        } else {
            const bool used = users.count(id) != 0;
            REQUIRE(use.revoke(id) == !used);
            if (revoked.emplace(id, true).second && !used) {
                remember(id);
            }
        }
        REQUIRE(use.in_use() == users.size());
    }
}
