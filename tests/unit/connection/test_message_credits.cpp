#include <penstock/connection/message_credits.hpp>

#include "support/catch.hpp"

#include <penstock/core/random.hpp>

#include <algorithm>
#include <array>
#include <deque>
#include <vector>

using penstock::connection::credit_receives;
using penstock::connection::message_credits;
using penstock::connection::message_header_bytes;
using arrival = message_credits::arrival;

namespace {

using bytes = std::array<std::byte, message_header_bytes>;

bytes header(unsigned kind, unsigned returned)
{
    bytes made{};
    made[0] = static_cast<std::byte>(kind);
    made[2] = static_cast<std::byte>(returned & 0xffU);
    made[3] = static_cast<std::byte>(returned >> 8U);
    return made;
}

bytes sent(message_credits& by)
{
    bytes made{};
    made.fill(std::byte{0xff}); // what was there before
    by.send_message(made);
    return made;
}

void arrive_and_release(message_credits& at, unsigned count)
{
    for (unsigned i = 0; i != count; ++i) {
        REQUIRE(at.message_arrived(header(1, 0)) == arrival::message);
        at.receive_posted();
    }
}

/// One side of a lane: what is on its way to it, and what it keeps. Receives are counted as a queue pair would.
struct side {
    explicit side(std::uint32_t granted)
        : account(granted)
        , receives(granted + credit_receives)
    {}
    message_credits account;
    std::uint32_t receives;
    std::uint32_t kept = 0;
    std::uint64_t read = 0;
    std::deque<bytes> arriving;

    void put(const bytes& message)
    {
        REQUIRE(receives != 0); // else: receiver not ready
        --receives;
        arriving.push_back(message);
    }

    void return_credits(side& to)
    {
        if (account.credit_due()) {
            bytes made{};
            account.send_credit(made);
            to.put(made);
        }
    }

    void take(side& from)
    {
        const auto what = account.message_arrived(arriving.front());
        arriving.pop_front();
        if (what == arrival::credit) {
            ++receives;
        } else {
            REQUIRE(what == arrival::message);
            ++kept;
            ++read;
        }
        return_credits(from);
    }

    void release(side& from)
    {
        --kept;
        ++receives;
        account.receive_posted();
        return_credits(from);
    }
};

} // namespace

TEST_CASE("a message spends a credit and takes along what is owed")
{
    message_credits ours(4);
    CHECK(sent(ours) == header(1, 0));
    CHECK(ours.available() == 3);
    CHECK(ours.message_arrived(header(1, 1)) == arrival::message);
    CHECK(ours.available() == 4);
    CHECK(sent(ours) == header(1, 0)); // its receive is not posted yet
    ours.receive_posted();
    CHECK(sent(ours) == header(1, 1));
    CHECK(sent(ours) == header(1, 0));
    ours.send_immediate();
    CHECK(ours.available() == 0);
}

TEST_CASE("credits alone are due once half is owed, rounded up")
{
    for (const std::uint32_t granted : {1U, 2U, 5U, 64U, 65'535U}) {
        message_credits ours(granted);
        const std::uint32_t half = granted / 2 + granted % 2;
        arrive_and_release(ours, half - 1);
        CHECK_FALSE(ours.credit_due());
        arrive_and_release(ours, 1);
        CHECK(ours.credit_due());
        bytes made{};
        ours.send_credit(made);
        CHECK(made == header(2, half));
        CHECK_FALSE(ours.credit_due());
    }
}

TEST_CASE("a peer that has spent all it was granted gets the few back that are not kept")
{
    message_credits ours(4);
    arrive_and_release(ours, 1);
    for (int kept = 0; kept != 2; ++kept) {
        CHECK(ours.message_arrived(header(1, 0)) == arrival::message);
        CHECK_FALSE(ours.credit_due());
    }
    CHECK(ours.message_arrived(header(1, 0)) == arrival::message);
    CHECK(ours.credit_due());
    bytes made{};
    ours.send_credit(made);
    CHECK(made == header(2, 1));
    CHECK(ours.message_arrived(header(1, 0)) == arrival::message);
    CHECK_FALSE(ours.credit_due()); // nothing is owed: all four are kept
    CHECK(ours.message_arrived(header(1, 0)) == arrival::excess);
}

TEST_CASE("what breaks the rules changes nothing")
{
    message_credits ours(2);
    (void)sent(ours);
    const auto refused = [&](std::span<const std::byte> said, arrival as) {
        CHECK(ours.message_arrived(said) == as);
        CHECK(ours.available() == 1);
    };
    for (std::size_t length = 0; length != message_header_bytes; ++length) {
        refused(std::span<const std::byte>(header(1, 0)).first(length), arrival::malformed);
    }
    refused(header(0, 0), arrival::malformed);
    refused(header(3, 1), arrival::malformed);
    for (const std::size_t reserved : {1U, 4U, 5U, 6U, 7U}) {
        auto said = header(1, 0);
        said[reserved] = std::byte{1};
        refused(said, arrival::malformed);
    }
    refused(header(2, 0), arrival::malformed); // credits, but none
    std::vector<std::byte> longer(message_header_bytes + 1);
    std::copy_n(header(2, 1).begin(), message_header_bytes, longer.begin());
    refused(longer, arrival::malformed);

    refused(header(1, 2), arrival::excess); // more than was spent
    refused(header(2, 65'535), arrival::excess);
    CHECK(ours.message_arrived(header(1, 0)) == arrival::message);
    CHECK(ours.immediate_arrived() == arrival::message);
    refused(header(1, 0), arrival::excess); // more than was granted
    refused(header(1, 1), arrival::excess);
    CHECK(ours.immediate_arrived() == arrival::excess);
    CHECK(ours.message_arrived(header(2, 1)) == arrival::credit); // and these are still good
    CHECK(ours.available() == 2);
}

TEST_CASE("whatever the order of sending, reading and keeping, there is a receive, and nobody waits for ever")
{
    for (const std::uint32_t granted : {1U, 2U, 3U, 5U, 8U}) {
        for (std::uint64_t seed = 1; seed != 40; ++seed) {
            INFO("granted " << granted << ", seed " << seed);
            penstock::seeded_random_source random(seed);
            side sides[2]{side(granted), side(granted)};
            const auto step = [&](std::uint64_t chance) {
                side& here = sides[chance & 1U];
                side& there = sides[1 - (chance & 1U)];
                switch ((chance >> 1U) % 4) {
                case 0:
                case 1:
                    if (here.account.available() != 0) {
                        there.put(sent(here.account));
                    }
                    break;
                case 2:
                    if (!here.arriving.empty()) {
                        here.take(there);
                    }
                    break;
                default:
                    if (here.kept != 0) {
                        here.release(there);
                    }
                }
            };
            for (int i = 0; i != 3'000; ++i) {
                step(random.next());
            }
            // Whoever may not send is helped by the other's reading, and by one message that is given back.
            for (auto& here : sides) {
                side& there = sides[&here == &sides[0] ? 1 : 0];
                while (here.account.available() != 0) {
                    there.put(sent(here.account));
                }
                while (!there.arriving.empty()) {
                    there.take(here);
                }
                if (there.kept != 0) {
                    there.release(here);
                }
                while (!here.arriving.empty()) {
                    here.take(there);
                }
                CHECK(here.account.available() != 0);
            }
            CHECK(sides[0].read + sides[1].read > 100);
        }
    }
}
