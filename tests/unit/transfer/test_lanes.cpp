#include "exposed.hpp"

#include <penstock/transfer/batch.hpp>
#include <penstock/transfer/remote_access.hpp>

using namespace penstock;
using namespace penstock::test;
using namespace penstock::transfer;

namespace {

std::uint32_t in_flight(exposed& w, std::size_t index)
{
    return 4 * w.here->properties().depth - w.here->lane_at(index)->send_room();
}

} // namespace

TEST_CASE("a long transfer goes by all lanes, in pieces")
{
    exposed w(2);
    for (std::size_t i = 0; i != exposed::length; ++i) {
        w.source.bytes()[i] = static_cast<std::byte>(i * 7 % 251);
    }
    operation_options options;
    options.stripe_bytes = 4'096; // 40'000 bytes: nine pieces of that, and the rest
    int calls = 0;
    const auto operations = w.near->poller().statistics().operations;
    async_write(
        *w.here, w.source.slice(0, exposed::length), w.remote(0, exposed::length), options, [&](error_code error) {
            CHECK_FALSE(error.failed());
            ++calls;
        });
    CHECK(calls == 0);
    CHECK(in_flight(w, 0) == 5);
    CHECK(in_flight(w, 1) == 5);
    CHECK(w.near->poller().statistics().operations == operations + 2); // one doorbell and one signal each
    w.run_until([&] { return calls == 1; });
    CHECK(std::equal(w.source.data(), w.source.data() + exposed::length, w.target.data()));
    CHECK(in_flight(w, 0) == 0);
    CHECK(in_flight(w, 1) == 0);
}

TEST_CASE("short transfers take the lane with the most room")
{
    exposed w(2);
    int calls = 0;
    for (int i = 0; i != 10; ++i) {
        async_write(*w.here, w.source.slice(0, 8), w.remote(0, 8), [&](error_code error) {
            CHECK_FALSE(error.failed());
            ++calls;
        });
    }
    CHECK(in_flight(w, 0) == 5);
    CHECK(in_flight(w, 1) == 5);
    w.run_until([&] { return calls == 10; });
}

TEST_CASE("a batch rings each lane's doorbell once")
{
    exposed w(2);
    batch all(300);
    for (std::size_t i = 0; i != 300; ++i) {
        REQUIRE_FALSE(all.write(w.source.slice(i * 64, 64), w.remote(i * 64, 64)).failed());
    }
    const auto operations = w.near->poller().statistics().operations;
    int calls = 0;
    async_transfer(*w.here, all, [&](error_code error) {
        CHECK_FALSE(error.failed());
        ++calls;
    });
    CHECK(w.near->poller().statistics().operations == operations + 2);
    CHECK(in_flight(w, 0) == 150);
    CHECK(in_flight(w, 1) == 150);
    w.run_until([&] { return calls == 1; });
    CHECK(w.target.bytes()[300 * 64 - 1] == std::byte{2});
    CHECK(w.target.bytes()[300 * 64] == std::byte{1});
}

TEST_CASE("a lane that dies under a batch costs what was posted on it; the rest goes by the other")
{
    exposed w(2);
    const std::size_t room = w.lane().send_room();
    const std::size_t count = 600;
    REQUIRE(count > 2 * room);
    batch all(count);
    for (std::size_t i = 0; i != count; ++i) {
        REQUIRE_FALSE(all.write(w.source.slice(i * 64, 64), w.remote(i * 64, 64)).failed());
    }
    int calls = 0;
    error_code told;
    async_transfer(*w.here, all, [&](error_code error) {
        told = error;
        ++calls;
    });
    CHECK(in_flight(w, 0) == room);
    CHECK(in_flight(w, 1) == room);
    w.here->lane_at(1)->fail(errc::lane_error);
    w.run_until([&] { return calls == 1; });
    std::size_t flushed = 0;
    for (std::size_t i = 0; i != count; ++i) {
        if (all.error(i).failed()) {
            CHECK(all.error(i) == completion_status::flushed);
            ++flushed;
        } else {
            CHECK(w.target.bytes()[i * 64 + 63] == std::byte{2});
        }
    }
    CHECK(flushed <= room);
    CHECK((flushed == 0) == !told.failed());
    CHECK_FALSE(all.error(count - 1).failed());

    bool ended = false;
    async_write(*w.here, w.source.slice(0, 8), w.remote(0, 8), [&](error_code error) {
        CHECK_FALSE(error.failed());
        ended = true;
    });
    w.run_until([&] { return ended; });
}
