// Messages that wait for credits, and receives that wait for messages. No queue pair here retries a send that finds no receive.

#include "exposed.hpp"

#include <penstock/transfer/message.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <array>
#include <future>
#include <string>
#include <vector>

using namespace penstock;
using namespace penstock::test;
using transfer::async_receive;
using transfer::async_send;
using transfer::message;
using transfer::operation_options;

namespace {

constexpr std::uint32_t granted = 65; // the depth, and one

std::span<const std::byte> bytes_of(const std::uint64_t& number)
{
    return std::as_bytes(std::span(&number, 1));
}

std::uint64_t number_in(const message& received)
{
    std::uint64_t number = 0;
    REQUIRE(received.bytes().size() == sizeof number);
    std::memcpy(&number, received.bytes().data(), sizeof number);
    return number;
}

/// Sends numbers in order, `width` at a time.
struct sender {
    connection::connection& over;
    std::uint64_t wanted;
    std::uint64_t sent = 0;
    std::uint64_t ended = 0;

    void go(int width)
    {
        for (int i = 0; i != width; ++i) {
            next();
        }
    }
    void next()
    {
        if (sent != wanted) {
            const std::uint64_t number = sent++;
            async_send(over, bytes_of(number), [this](error_code error) {
                REQUIRE(error == error_code());
                ++ended;
                next();
            });
        }
    }
};

/// Receives numbers and checks their order; `delay` turns of the far side between two.
struct receiver {
    connection::connection& from;
    std::uint64_t next_number = 0;

    void next()
    {
        async_receive(from, [this](error_code error, const message& received) {
            if (!error.failed()) {
                REQUIRE(number_in(received) == next_number);
                ++next_number;
                next();
            }
        });
    }
};

struct outcome {
    int calls = 0;
    error_code error{};
};

auto into(outcome& one)
{
    return [&one](error_code told) {
        ++one.calls;
        one.error = told;
    };
}

} // namespace

TEST_CASE("sends and receives end later, in order, whoever comes first")
{
    exposed w;
    std::vector<std::uint64_t> got;
    const auto receive = [&] {
        async_receive(*w.there, [&](error_code error, const message& received) {
            CHECK(error == error_code());
            got.push_back(number_in(received));
        });
    };
    const bool receives_first = GENERATE(true, false);
    std::size_t sent = 0;
    if (receives_first) {
        receive();
        receive();
    }
    for (std::uint64_t number = 1; number != 4; ++number) {
        async_send(*w.here, bytes_of(number), [&](error_code error) {
            CHECK(error == error_code());
            ++sent;
        });
    }
    CHECK(sent == 0);
    w.run_until([&] { return sent == 3; });
    receive();
    if (!receives_first) {
        receive();
        receive();
        CHECK(got.empty());
    }
    w.run_until([&] { return got.size() == 3; });
    CHECK(got == std::vector<std::uint64_t>{1, 2, 3});
    w.check_baseline();
}

TEST_CASE("both directions at once, more than there are credits for")
{
    const std::uint64_t count = on_verbs() ? 2'000 : 20'000;
    exposed w;
    receiver at_there{*w.there};
    receiver at_here{*w.here};
    at_there.next();
    at_here.next();
    sender up{*w.here, count};
    sender down{*w.there, count};
    up.go(100);
    down.go(100);
    CHECK_FALSE(w.lane().may_send()); // 65 were granted, 35 wait
    w.run_until([&] { return up.ended == count && down.ended == count; });
    w.run_until([&] { return at_there.next_number == count && at_here.next_number == count; });
    w.here->close();
    w.there->close();
}

TEST_CASE("who keeps messages gives no credits, and sends wait, as many as there is room for")
{
    exposed w;
    std::vector<message> kept;
    std::function<void()> receive = [&] {
        async_receive(*w.there, [&](error_code error, message received) {
            if (!error.failed()) {
                kept.push_back(std::move(received));
                receive();
            }
        });
    };
    receive();
    sender send{*w.here, 200};
    send.go(128); // what the acceptor has room for, 65 of them at once
    w.run_until([&] { return send.ended == granted && kept.size() == granted; });
    CHECK(w.lane().send_credits() == 0);
    outcome beyond;
    std::vector<outcome> more(200);
    for (auto& each : more) {
        async_send(*w.here, bytes_of(7), into(each));
    }
    async_send(*w.here, bytes_of(7), into(beyond));
    CHECK(beyond.calls == 0);
    w.run_until([&] { return beyond.calls == 1; });
    CHECK(beyond.error == errc::send_queue_full);
    CHECK(kept.size() == granted);
    for (std::uint64_t number = 0; number != granted; ++number) {
        CHECK(number_in(kept[number]) == number);
    }
    std::uint64_t seen = 0;
    while (send.ended != 200) {
        REQUIRE(number_in(kept.front()) <= 200);
        kept.erase(kept.begin());
        ++seen;
        w.run_until([&] { return kept.size() == granted || send.ended == 200; });
    }
    CHECK(seen >= 200 - granted);
    kept.clear();
    w.run_until(
        [&] { return std::all_of(more.begin(), more.end(), [](const outcome& each) { return each.calls == 1; }); });
    w.here->close();
    w.there->close();
    receive = nullptr;
}

TEST_CASE("a send that waits for credits ends at its deadline or its cancellation, and nothing of it is sent")
{
    exposed w;
    std::size_t placed = 0;
    for (std::uint64_t number = 0; number != granted; ++number) {
        async_send(*w.here, bytes_of(number), [&](error_code) { ++placed; });
    }
    w.run_until([&] { return placed == granted; }); // nobody receives
    boost::asio::cancellation_signal signal;
    outcome late;
    outcome cancelled;
    outcome patient;
    operation_options soon;
    soon.deadline = w.near->time().now() + std::chrono::milliseconds(5);
    async_send(*w.here, bytes_of(1'000), soon, into(late));
    async_send(*w.here, bytes_of(1'001), boost::asio::bind_cancellation_slot(signal.slot(), into(cancelled)));
    async_send(*w.here, bytes_of(1'002), into(patient));
    signal.emit(boost::asio::cancellation_type::terminal);
    CHECK(cancelled.calls == 0);
    w.run_until([&] { return late.calls == 1 && cancelled.calls == 1; });
    CHECK(late.error == errc::timed_out);
    CHECK(cancelled.error == errc::cancelled);
    signal.emit(boost::asio::cancellation_type::terminal);
    CHECK(patient.calls == 0);

    std::uint64_t last = 0;
    std::size_t count = 0;
    for (std::uint64_t i = 0; i != granted + 1; ++i) {
        async_receive(*w.there, [&](error_code error, const message& received) {
            CHECK(error == error_code());
            last = number_in(received);
            ++count;
        });
    }
    w.run_until([&] { return count == granted + 1; });
    CHECK(last == 1'002);
    w.run_until([&] { return patient.calls == 1; });
    CHECK(patient.error == error_code());
    CHECK((late.calls == 1 && cancelled.calls == 1));
    w.check_baseline();
}

TEST_CASE("a receive ends at its deadline or its cancellation, and no message is lost")
{
    exposed w;
    boost::asio::cancellation_signal signal;
    error_code late;
    error_code cancelled;
    std::uint64_t got = 0;
    operation_options soon;
    soon.deadline = w.far->time().now() + std::chrono::milliseconds(5);
    async_receive(*w.there, soon, [&](error_code error, const message&) { late = error; });
    async_receive(*w.there, boost::asio::bind_cancellation_slot(signal.slot(), [&](error_code error, const message&) {
        cancelled = error;
    }));
    async_receive(*w.there, [&](error_code, const message& received) { got = number_in(received); });
    signal.emit(boost::asio::cancellation_type::terminal);
    CHECK_FALSE(cancelled.failed());
    w.run_until([&] { return late.failed() && cancelled.failed(); });
    CHECK(late == errc::timed_out);
    CHECK(cancelled == errc::cancelled);
    bool sent = false;
    async_send(*w.here, bytes_of(5), [&](error_code) { sent = true; });
    w.run_until([&] { return sent && got == 5; });
}

TEST_CASE(
    "when the connection dies what arrived is still received; then everything that waits ends once, with the reason")
{
    exposed w;
    std::size_t placed = 0;
    for (std::uint64_t number = 0; number != granted; ++number) {
        async_send(*w.here, bytes_of(number), [&](error_code) { ++placed; });
    }
    w.run_until([&] { return placed == granted; });
    std::array<outcome, 3> waiting;
    for (auto& each : waiting) {
        async_send(*w.here, bytes_of(1), into(each));
    }
    int received_here = 0;
    error_code at_here;
    async_receive(*w.here, [&](error_code error, const message&) {
        ++received_here;
        at_here = error;
    });
    w.here->close();
    CHECK(received_here == 0);
    w.run_until([&] { return w.there->lost().failed() && received_here == 1 && waiting[2].calls == 1; });
    CHECK(at_here == errc::connection_closed);
    for (const auto& each : waiting) {
        CHECK(each.calls == 1);
        CHECK(each.error == errc::connection_closed);
    }
    std::uint64_t received = 0;
    int ends = 0;
    for (std::uint64_t i = 0; i != granted + 2; ++i) {
        async_receive(*w.there, [&](error_code error, const message& found) {
            if (error.failed()) {
                CHECK(error == w.there->lost());
                ++ends;
            } else {
                CHECK(number_in(found) == received);
                ++received;
            }
        });
    }
    w.run_until([&] { return ends == 2 && received == granted; });
    outcome refused;
    async_send(*w.here, bytes_of(1), into(refused));
    w.run_until([&] { return refused.calls == 1; });
    CHECK(refused.error == errc::connection_lost);
}

TEST_CASE("a runtime that ends completes what waits, once")
{
    exposed w;
    for (std::uint64_t number = 0; number != granted; ++number) {
        async_send(*w.here, bytes_of(number), [](error_code) {});
    }
    outcome waiting;
    int received = 0;
    async_send(*w.here, bytes_of(1), into(waiting));
    async_receive(*w.here, [&](error_code, const message&) { ++received; });
    w.listening.reset();
    w.here.reset();
    w.source = {};
    w.near.reset();
    w.near_context.restart();
    (void)w.near_context.run();
    CHECK(waiting.calls == 1);
    CHECK(waiting.error.failed());
    CHECK(received == 1);
}

TEST_CASE("a handler may destroy its connection, and a message outlives it")
{
    exposed w;
    message kept;
    async_receive(*w.there, [&](error_code, message received) {
        kept = std::move(received);
        w.there.reset();
    });
    async_send(*w.here, bytes_of(9), [](error_code) {});
    async_send(*w.here, bytes_of(10), [](error_code) {});
    w.near->poller().hold(); // it hears of the end also when the second message was placed before
    w.run_until([&] { return kept && w.here->lost().failed(); });
    w.near->poller().release_hold();
    w.run_until([&] { return w.far->poller().outstanding() == 1; }); // the test's own hold
    CHECK(number_in(kept) == 9);
    kept = {};
    CHECK(w.far->messages().statistics().in_use == 0);
}

TEST_CASE("a ping-pong, awaited")
{
    exposed w;
    const std::uint64_t rounds = on_verbs() ? 100 : 2'000;
    std::uint64_t answered = 0;
    boost::asio::co_spawn(
        w.far_context,
        [&]() -> boost::asio::awaitable<void> {
            for (std::uint64_t i = 0; i != rounds; ++i) {
                const auto asked = co_await async_receive(*w.there, boost::asio::use_awaitable);
                co_await async_send(*w.there, asked.bytes(), boost::asio::use_awaitable);
            }
        },
        [](std::exception_ptr failed) { CHECK_FALSE(failed); });
    boost::asio::co_spawn(
        w.near_context,
        [&]() -> boost::asio::awaitable<void> {
            for (std::uint64_t i = 0; i != rounds; ++i) {
                co_await async_send(*w.here, bytes_of(i), boost::asio::use_awaitable);
                const auto answer = co_await async_receive(*w.here, boost::asio::use_awaitable);
                answered += number_in(answer) == i ? 1U : 0U;
            }
        },
        [](std::exception_ptr failed) { CHECK_FALSE(failed); });
    w.run_until([&] { return answered == rounds; });
}

TEST_CASE("with futures, from registered memory, and too long")
{
    exposed w;
    auto received = async_receive(*w.there, boost::asio::use_future);
    auto sent = async_send(w.lane(), w.source.slice(0, 64), boost::asio::use_future);
    const auto ready
        = [](const auto& one) { return one.wait_for(std::chrono::seconds(0)) == std::future_status::ready; };
    w.run_until([&] { return ready(sent) && ready(received); });
    sent.get();
    const auto found = received.get();
    REQUIRE(found.bytes().size() == 64);
    CHECK(std::all_of(found.bytes().begin(), found.bytes().end(), [](std::byte each) { return each == std::byte{2}; }));

    std::array<outcome, 2> refused;
    async_send(*w.here, w.source.slice(0, 65), into(refused[0])); // an acceptor's messages are of 64 bytes
    async_send(*w.here, std::vector<std::byte>(65), into(refused[1]));
    w.run_until([&] { return refused[0].calls == 1 && refused[1].calls == 1; });
    CHECK(refused[0].error == errc::message_too_long);
    CHECK(refused[1].error == errc::message_too_long);
    w.check_baseline();
}

TEST_CASE("receives that wait are bounded")
{
    exposed w;
    std::size_t full = 0;
    std::size_t closed = 0;
    for (std::size_t i = 0; i != connection::inbox::waiting_max + 1; ++i) {
        async_receive(*w.there, [&](error_code error, const message&) {
            full += error == errc::receive_queue_full ? 1U : 0U;
            closed += error == errc::connection_closed ? 1U : 0U;
        });
    }
    w.run_until([&] { return full == 1; });
    w.there->close();
    w.run_until([&] { return closed == connection::inbox::waiting_max; });
}
