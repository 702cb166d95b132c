#pragma once

// Two runtimes with an executor each, a connection between them, and memory of the far one that the near one may reach.

#include "support/catch.hpp"

#include <penstock/connection/acceptor.hpp>
#include <penstock/connection/connection.hpp>
#include <penstock/transfer/exposure_ledger.hpp>
#include <penstock/transfer/remote_buffer.hpp>
#include <penstock/transfer/transfer.hpp>

#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace penstock::test {

using connection_ptr = std::unique_ptr<connection::connection>;

inline bool on_verbs()
{
    const char* const wanted = std::getenv("PENSTOCK_TEST_TRANSPORT");
    return wanted != nullptr && std::string_view(wanted) == "verbs";
}

inline boost::asio::ip::address test_address()
{
    if (!on_verbs()) {
        return boost::asio::ip::address_v4::loopback();
    }
    const char* const given = std::getenv("PENSTOCK_ADDRESS");
    REQUIRE(given != nullptr);
    return boost::asio::ip::make_address(given);
}

inline runtime_options test_runtime()
{
    runtime_options options;
    options.transport = on_verbs() ? transport_choice::verbs : transport_choice::tcp;
    options.pool.slice_bytes = std::size_t{64} << 10U;
    options.pool.arena_bytes = std::size_t{256} << 10U;
    options.polling.spin = std::chrono::microseconds(0);
    return options;
}

/// The far side has bound a window on a buffer of its own; the near one acts. `run_near` leaves the far one standing still: on tcp
/// nothing that was posted here ends then.
struct exposed {
    static constexpr std::size_t length = 40'000;

    boost::asio::io_context near_context;
    boost::asio::io_context far_context;
    std::optional<runtime> near{std::in_place, near_context.get_executor(), test_runtime()};
    std::optional<runtime> far{std::in_place, far_context.get_executor(), test_runtime()};
    std::optional<connection::acceptor> listening;
    connection_ptr here;
    connection_ptr there;
    memory::buffer source = near->pool().acquire().value();
    memory::buffer target = far->pool().acquire().value();
    fabric::remote_segment key{}; // for lane 0
    std::vector<transfer::lane_key> keys;

    explicit exposed(std::uint32_t lanes = 1)
    {
        connection::acceptor_options options;
        options.listen = {test_address(), 0};
        options.liveness.enabled = false; // no timers but those of the operations
        options.lanes_max = lanes;
        options.recovery.enabled = lanes > 1; // else the first lane that dies takes the others along
        listening.emplace(*near, options, [this](connection_ptr made) { here = std::move(made); });
        connection::connect_options wanted;
        wanted.liveness.enabled = false;
        wanted.transport = on_verbs() ? transport_choice::verbs : transport_choice::tcp;
        wanted.lanes = lanes;
        wanted.recovery = options.recovery;
        async_connect(*far, listening->local_endpoint(), wanted, [this](error_code error, connection_ptr made) {
            CHECK(error.message() == error_code().message());
            there = std::move(made);
        });
        run_until([&] { return here && there && ready(lanes); });
        if (lanes == 1) {
            listening.reset();
        }
        for (std::uint32_t index = 0; index != lanes; ++index) {
            expose(*there->lane_at(index));
        }
        std::fill(target.bytes().begin(), target.bytes().end(), std::byte{1});
        std::fill(source.bytes().begin(), source.bytes().end(), std::byte{2});
        far->poller().hold(); // the tcp fabric's passive side moves only while its poller runs
    }
    exposed(const exposed&) = delete;
    exposed& operator=(const exposed&) = delete;
    ~exposed()
    {
        if (far) {
            far->poller().release_hold();
        }
    }

    bool ready(std::uint32_t lanes) const
    {
        for (std::uint32_t index = 0; index != lanes; ++index) {
            auto* const one = here->lane_at(index);
            if (one == nullptr || there->lane_at(index) == nullptr
                || one->pair().state() != fabric::queue_pair_state::ready_to_send) {
                return false;
            }
        }
        return true;
    }

    void expose(connection::lane& on)
    {
        auto* const window = on.acquire_window().value();
        fabric::send_request bind;
        bind.operation = fabric::opcode::bind_window;
        bind.bind.window = window;
        bind.bind.region = target.slice().region(on.device().index);
        bind.bind.address = target.data();
        bind.bind.length = length;
        bind.bind.rights = fabric::access::remote_read | fabric::access::remote_write | fabric::access::remote_atomic;
        bool bound = false;
        auto callback = [&bound](error_code error) {
            CHECK_FALSE(error.failed());
            bound = true;
        };
        REQUIRE_FALSE(transfer::submit(on, {&bind, 1}, callback).failed());
        CHECK_FALSE(bound);
        run_until([&] { return bound; });
        keys.push_back({static_cast<std::uint16_t>(keys.size()), window->key()});
        key = {reinterpret_cast<std::uintptr_t>(target.data()), keys.front().rkey};
    }

    /// The name of a part of the target, which need not lie inside the window.
    transfer::remote_buffer remote(std::uint64_t offset, std::uint64_t bytes,
        fabric::access rights
        = fabric::access::remote_read | fabric::access::remote_write | fabric::access::remote_atomic,
        std::uint32_t epoch = 1) const
    {
        return transfer::remote_buffer::make(1, key.address + offset, bytes, epoch, rights, keys).value();
    }

    connection::lane& lane() { return here->data(); }
    fabric::local_segment local(std::size_t bytes) const
    {
        return source.slice(0, bytes).segment(here->data().device().index);
    }
    std::uint64_t word() const
    {
        std::uint64_t value = 0;
        std::memcpy(&value, target.data(), sizeof value);
        return value;
    }

    static void turn(boost::asio::io_context& one)
    {
        if (one.stopped()) {
            one.restart();
        }
        (void)one.run_one_for(std::chrono::milliseconds(1));
        (void)one.poll();
    }

    void run_until(const std::function<bool()>& reached, bool both = true)
    {
        const auto limit = system_clock_source().now() + std::chrono::seconds(10);
        while (!reached()) {
            if (system_clock_source().now() > limit) {
                FAIL("not within ten seconds");
            }
            turn(near_context);
            if (both) {
                turn(far_context);
            }
        }
    }
    void run_near_until(const std::function<bool()>& reached) { run_until(reached, false); }

    /// Nothing is left of any operation: no slot, no request on the lane, no word for an atomic, no use of an exposure.
    void check_baseline()
    {
        CHECK(near->poller().outstanding() == 0);
        CHECK(lane().quiet());
        CHECK(lane().send_room() == (lane().failed() ? 0 : 4 * here->properties().depth));
        CHECK(near->landing().in_use() == 0);
        CHECK(transfer::exposure_ledger::of(*here).use().in_use() == 0);
        CHECK(transfer::traffic::of(*here).in_progress() == 0);
    }
};

} // namespace penstock::test
