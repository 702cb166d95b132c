#include "exposing.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <array>
#include <future>
#include <vector>

using namespace penstock;
using namespace penstock::test;

TEST_CASE("exposed memory is reached by its remote buffer, and after the revocation by nobody")
{
    const bool windows = GENERATE(true, false);
    CAPTURE(windows);
    exposing w(windows);
    CHECK(w.here->properties().memory_windows == windows);
    auto exposed = w.expose(w.client->pool().acquire().value());

    std::array<std::byte, remote_buffer::encoded_bytes_max> wire{};
    const auto length = exposed.remote().encode(wire);
    const auto remote = remote_buffer::decode(std::span(wire).first(length)).value();
    CHECK(remote == exposed.remote());
    CHECK(remote.epoch() == w.here->properties().epoch);
    CHECK_FALSE(exposed.take_buffer()); // not before the end
    CHECK_FALSE(w.write(remote, 1000).failed());

    CHECK_FALSE(w.revoke(exposed, patient()).failed());
    auto back = exposed.take_buffer();
    REQUIRE(back);
    CHECK(back.bytes()[999] == std::byte{2});
    CHECK(back.bytes()[1000] == std::byte{0});
    CHECK_FALSE(w.here->lost().failed());
    CHECK_FALSE(w.revoke(exposed).failed()); // again: it is over

    std::fill(back.bytes().begin(), back.bytes().end(), std::byte{7});
    CHECK(w.write(remote, 1000) == completion_status::remote_access_error);
    CHECK(std::all_of(back.bytes().begin(), back.bytes().end(), [](std::byte b) { return b == std::byte{7}; }));
}

TEST_CASE("a revocation waits for the work that the peer has posted")
{
    exposing w(GENERATE(true, false));
    const auto buffer = w.client->pool().acquire().value();
    auto exposed = w.expose(buffer.slice());
    auto& use = exposure_ledger::of(*w.there);
    REQUIRE_FALSE(use.begin_use(exposed.remote()).failed());

    ending revoked;
    exposed.async_revoke(patient(), revoked.handler());
    w.run_until([&] { return w.refused(exposed.remote()); });
    CHECK_FALSE(w.write(exposed.remote(), 8).failed()); // the work it waits for
    CHECK_FALSE(revoked.ended);

    ending second;
    exposed.async_revoke(second.handler());
    w.run_until([&] { return second.ended; });
    CHECK(second.error == errc::wrong_state);

    use.end_use(exposed.remote());
    w.run_until([&] { return revoked.ended; });
    CHECK_FALSE(revoked.error.failed());
    CHECK(buffer.bytes()[7] == std::byte{2});
    CHECK(exposure_ledger::of(*w.here).exposed() == 0);
    CHECK_FALSE(exposed.take_buffer()); // there was none
}

TEST_CASE("a peer that does not answer is waited for no longer than the grace, and its late work costs the lane")
{
    exposing w(GENERATE(true, false));
    auto exposed = w.expose(w.client->pool().acquire().value());
    const auto remote = exposed.remote();
    REQUIRE_FALSE(exposure_ledger::of(*w.there).begin_use(remote).failed()); // and never ends it
    CHECK_FALSE(w.revoke(exposed).failed());
    CHECK_FALSE(w.here->lost().failed()); // nothing came late yet
    CHECK(w.write(remote, 8) == completion_status::remote_access_error);
    w.run_until([&] { return w.here->lost().failed() && w.there->lost().failed(); });
    const auto back = exposed.take_buffer();
    CHECK(back.bytes()[0] == std::byte{0});
}

TEST_CASE("a peer that looks at what was revoked only later is refused before it costs a lane")
{
    exposing w;
    w.there->transfers().reset();
    auto exposed = w.expose(w.client->pool().acquire().value());
    CHECK_FALSE(w.revoke(exposed).failed()); // the peer has no ledger yet: nobody answers
    CHECK(exposure_ledger::of(*w.there).begin_use(exposed.remote()) == errc::exposure_revoked);
}

TEST_CASE("a remote buffer of another epoch is dead")
{
    exposing w;
    auto& use = exposure_ledger::of(*w.there);
    const auto old = remote_buffer::make(
        1, 4096, 8, w.there->properties().epoch + 1, exposing::both, std::array{transfer::lane_key{0, 1}});
    CHECK(use.begin_use(old.value()) == errc::exposure_revoked);
    CHECK(use.use().in_use() == 0);
}

TEST_CASE("a grant expires by itself")
{
    exposing w(GENERATE(true, false));
    transfer::expose_options options;
    options.expires = w.client->time().now();
    auto exposed = w.expose(w.client->pool().acquire().value(), options);
    w.run_until([&] { return exposure_ledger::of(*w.here).exposed() == 0; });
    CHECK(exposed.take_buffer());
    CHECK_FALSE(w.revoke(exposed).failed());
    CHECK(w.write(exposed.remote(), 8) == completion_status::remote_access_error);
}

TEST_CASE("rights are enforced")
{
    exposing w(GENERATE(true, false));
    std::optional<exposure> exposed;
    transfer::async_expose(*w.here, w.client->pool().acquire().value(), fabric::access::remote_read,
        [&](error_code, exposure made) { exposed.emplace(std::move(made)); });
    w.run_until([&] { return exposed.has_value(); });
    CHECK(exposed->remote().rights() == fabric::access::remote_read);
    CHECK(w.write(exposed->remote(), 8) == completion_status::remote_access_error);
}

TEST_CASE("what cannot be exposed is told, and the buffer given back")
{
    exposing w(GENERATE(true, false));
    const auto refusal = [&w](memory::buffer buffer, fabric::access rights) {
        std::optional<error_code> told;
        memory::buffer back;
        transfer::async_expose(*w.here, std::move(buffer), rights, [&](error_code error, exposure exposed) {
            told = error;
            back = exposed.take_buffer();
            CHECK(exposed.remote().empty());
        });
        CHECK_FALSE(told);
        w.run_until([&] { return told.has_value(); });
        return std::pair{*told, std::move(back)};
    };
    auto [error, back] = refusal({}, exposing::both);
    CHECK(error == errc::invalid_argument);
    std::tie(error, back) = refusal(w.client->pool().acquire().value(), fabric::access::none);
    CHECK(error == errc::invalid_argument);
    CHECK(back);
    std::tie(error, back) = refusal(std::move(back), fabric::access::local_write);
    CHECK(error == errc::invalid_argument);
    w.there->close();
    w.run_until([&] { return w.here->lost().failed(); });
    std::tie(error, back) = refusal(std::move(back), exposing::both);
    CHECK(error == errc::connection_lost);
    CHECK(back);
}

TEST_CASE("as many exposures as there are windows, and windows come back")
{
    exposing w;
    const auto buffer = w.client->pool().acquire().value();
    std::vector<exposure> all;
    for (std::uint32_t count = 0; count != w.here->properties().depth; ++count) {
        all.push_back(w.expose(buffer.slice(count, 1)));
    }
    std::optional<error_code> told;
    transfer::async_expose(
        *w.here, buffer.slice(), exposing::both, [&](error_code error, const exposure&) { told = error; });
    w.run_until([&] { return told.has_value(); });
    CHECK(*told == errc::send_queue_full);

    // All at once: more than the control lane has room for, and none may be lost.
    std::vector<ending> revoked(all.size());
    for (std::size_t index = 0; index != all.size(); ++index) {
        all[index].async_revoke(patient(), revoked[index].handler());
    }
    w.run_until(
        [&] { return std::all_of(revoked.begin(), revoked.end(), [](const ending& each) { return each.ended; }); });
    auto again = w.expose(buffer.slice());
    CHECK_FALSE(w.revoke(again, patient()).failed());
    CHECK_FALSE(w.here->lost().failed());
}

TEST_CASE("exposing is cancelled: fenced, and the buffer given back")
{
    exposing w(GENERATE(true, false));
    boost::asio::cancellation_signal stop;
    std::optional<error_code> told;
    memory::buffer back;
    transfer::async_expose(*w.here, w.client->pool().acquire().value(), exposing::both,
        boost::asio::bind_cancellation_slot(stop.slot(), [&](error_code error, exposure exposed) {
            told = error;
            back = exposed.take_buffer();
        }));
    stop.emit(boost::asio::cancellation_type::terminal);
    w.run_until([&] { return told.has_value(); });
    CHECK(*told == errc::cancelled);
    CHECK(back);
    CHECK_FALSE(w.here->lost().failed());
}

TEST_CASE("awaited, and with a future")
{
    exposing w;
    bool ended = false;
    boost::asio::co_spawn(
        w.context,
        [&]() -> boost::asio::awaitable<void> {
            auto exposed = co_await transfer::async_expose(
                *w.here, w.client->pool().acquire().value(), exposing::both, boost::asio::use_awaitable);
            co_await exposed.async_revoke(boost::asio::use_awaitable);
            ended = static_cast<bool>(exposed.take_buffer());
        },
        [](std::exception_ptr failed) { CHECK_FALSE(failed); });
    w.run_until([&] { return ended; });

    auto future
        = transfer::async_expose(*w.here, w.client->pool().acquire().value(), exposing::both, boost::asio::use_future);
    w.run_until([&] { return future.wait_for(std::chrono::seconds(0)) == std::future_status::ready; });
    auto exposed = future.get();
    CHECK_FALSE(w.revoke(exposed, patient()).failed());
}
