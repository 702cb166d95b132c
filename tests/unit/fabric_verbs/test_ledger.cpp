#include "fabric/verbs/ledger.hpp"
#include "support/catch.hpp"

using penstock::fabric::verbs::queue_ledger;

TEST_CASE("a signaled completion frees the unsignaled requests before it", "[verbs]")
{
    queue_ledger ledger(17, 4, 2);
    CHECK(ledger.send_room() == 4);
    ledger.send_posted(false);
    ledger.send_posted(false);
    ledger.send_posted(true);
    ledger.send_posted(true);
    CHECK(ledger.send_room() == 0);
    ledger.send_completed();
    CHECK(ledger.send_room() == 3);
    ledger.send_completed();
    CHECK(ledger.send_room() == 4);
}

TEST_CASE("the ring of runs goes round", "[verbs]")
{
    queue_ledger ledger(17, 3, 1);
    for (int i = 0; i < 100; ++i) {
        ledger.send_posted(i % 2 == 0);
        if (i % 2 == 0)
            ledger.send_completed();
        REQUIRE(ledger.send_room() == (i % 2 == 0 ? 3U : 2U));
    }
}

TEST_CASE("completions of somebody else's requests free nothing", "[verbs]")
{
    queue_ledger ledger(17, 4, 2);
    ledger.send_completed();
    ledger.receive_completed();
    CHECK(ledger.send_room() == 4);
    ledger.send_posted(false);
    ledger.send_completed();
    CHECK(ledger.send_room() == 3);
    CHECK(ledger.receive_room() == 2);
}

TEST_CASE("after a failure both queues are counted as one, and never beyond their depths", "[verbs]")
{
    queue_ledger ledger(17, 4, 2);
    ledger.send_posted(true);
    ledger.send_posted(false);
    ledger.receive_posted();
    CHECK_FALSE(ledger.failed());
    ledger.request_failed();
    CHECK(ledger.failed());
    CHECK(ledger.send_room() == 4);
    CHECK(ledger.receive_room() == 4);
    ledger.send_posted(false);
    ledger.receive_posted();
    CHECK(ledger.send_room() == 2);
    for (int i = 0; i < 10; ++i)
        ledger.request_failed();
    CHECK(ledger.send_room() == 6);
}
