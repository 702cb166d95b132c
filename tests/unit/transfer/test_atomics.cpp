#include "exposed.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <vector>

using namespace penstock;
using namespace penstock::test;
using namespace penstock::transfer;

TEST_CASE("atomics hand back the old value")
{
    exposed w;
    const std::uint64_t first = 40;
    std::memcpy(w.target.data(), &first, sizeof first);
    std::vector<std::uint64_t> old;
    bool ended = false;
    boost::asio::co_spawn(
        w.near_context,
        [&]() -> boost::asio::awaitable<void> {
            using boost::asio::use_awaitable;
            old.push_back(co_await async_fetch_add(w.lane(), w.key, 2, use_awaitable));
            old.push_back(co_await async_compare_swap(w.lane(), w.key, 41, 7, use_awaitable)); // not 41: not done
            old.push_back(co_await async_compare_swap(w.lane(), w.key, 42, 99, use_awaitable));
            old.push_back(co_await async_fetch_add(w.lane(), w.key, 0, use_awaitable));
            ended = true;
        },
        [](std::exception_ptr failed) { CHECK_FALSE(failed); });
    w.run_until([&] { return ended; });
    CHECK(old == std::vector<std::uint64_t>{40, 42, 42, 99});
    CHECK(w.word() == 99);
    w.check_baseline();
}

TEST_CASE("many atomics at once each get their own old value")
{
    exposed w;
    std::memset(w.target.data(), 0, sizeof(std::uint64_t));
    std::vector<std::uint64_t> old;
    const auto room = w.lane().send_room();
    REQUIRE(room > 64);
    for (std::uint32_t i = 0; i != room; ++i) {
        async_fetch_add(w.lane(), w.key, 1, [&](error_code error, std::uint64_t value) {
            CHECK_FALSE(error.failed());
            old.push_back(value);
        });
    }
    CHECK(w.near->landing().in_use() == room);
    w.run_until([&] { return old.size() == room; });
    for (std::uint64_t i = 0; i != room; ++i) {
        CHECK(old[i] == i);
    }
    w.check_baseline();
}

TEST_CASE("an atomic that cannot be posted gives its word back, and its handler is not called inside")
{
    exposed w;
    std::vector<error_code> told;
    const auto note = [&](error_code error, std::uint64_t old) {
        told.push_back(error);
        CHECK(old == 0);
    };
    auto misaligned = w.key;
    misaligned.address += 4;
    async_fetch_add(w.lane(), misaligned, 1, note);
    CHECK(told.empty());
    w.run_until([&] { return told.size() == 1; });
    CHECK(told.back() == errc::invalid_argument);
    w.check_baseline();

    w.lane().fail(errc::lane_error);
    async_compare_swap(w.lane(), w.key, 1, 2, note);
    CHECK(told.size() == 1);
    w.run_until([&] { return told.size() == 2; });
    CHECK(told.back() == errc::lane_error);
    CHECK(w.near->landing().in_use() == 0);
}

TEST_CASE("words for atomics are bounded")
{
    exposed w;
    auto& words = w.near->landing();
    std::vector<std::uint16_t> taken;
    for (int i = 0; i != connection::landing_words::words_max; ++i) {
        taken.push_back(words.acquire().value());
    }
    CHECK(words.acquire().error() == errc::send_queue_full);
    error_code told;
    async_fetch_add(w.lane(), w.key, 1, [&](error_code error, std::uint64_t) { told = error; });
    w.run_until([&] { return told.failed(); });
    CHECK(told == errc::send_queue_full);
    std::sort(taken.begin(), taken.end());
    CHECK(std::adjacent_find(taken.begin(), taken.end()) == taken.end());
    for (const auto word : taken) {
        words.release(word);
    }
    w.check_baseline();
}

TEST_CASE("an atomic on memory without the right fails with the status, and its word comes back")
{
    exposed w;
    auto beyond = w.key;
    beyond.rkey ^= 0x5a00;
    error_code told;
    async_fetch_add(w.lane(), beyond, 1, [&](error_code error, std::uint64_t) { told = error; });
    w.run_until([&] { return told.failed(); });
    CHECK(told == completion_status::remote_access_error);
    CHECK(w.near->landing().in_use() == 0);
}

TEST_CASE("a write with immediate tells the other side after its bytes")
{
    exposed w;
    std::uint32_t told = 0;
    std::uint32_t bytes = 0;
    int messages = 0;
    auto seen = std::byte{0};
    w.there->on_message([&](std::span<const std::byte>) { ++messages; });
    w.there->data().on_immediate([&](std::uint32_t immediate_data, std::uint32_t length) {
        told = immediate_data;
        bytes = length;
        seen = w.target.bytes()[exposed::length - 1];
    });
    bool ended = false;
    async_write_with_immediate(w.lane(), w.local(exposed::length), w.key, 0xfeed'beef, [&](error_code error) {
        CHECK_FALSE(error.failed());
        ended = true;
    });
    CHECK_FALSE(ended);
    w.run_until([&] { return ended && told != 0; });
    CHECK(told == 0xfeed'beef);
    CHECK(bytes == exposed::length);
    CHECK(seen == std::byte{2});
    CHECK(messages == 0);
    w.check_baseline();
}
