#include "owner.hpp"
#include "wire.hpp"

#include <penstock/core/random.hpp>
#include <penstock/transfer/exposure.hpp>
#include <penstock/transfer/transfer.hpp>

#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <vector>

namespace penstock::fence_test {
namespace {

using transfer::exposure;

constexpr std::size_t buffers_of_slot = 3;   // each is looked at after as many more operations of its slot
constexpr std::uint64_t rude_interval = 250; // operations between revocations that are not answered
constexpr std::uint32_t time_us_max = 4'000; // of an operation: up to
constexpr std::uint32_t time_us_ample = 10'000'000;
constexpr std::uint32_t delay_us_max = 5'000;            // of the peer's writing: up to
constexpr std::uint64_t lanes_lost_max = 20;             // then it is given up
constexpr std::chrono::seconds patience{60};             // without an operation's end: then it is given up
constexpr std::chrono::milliseconds polite_grace{5'000}; // the peer answers
constexpr std::chrono::milliseconds rude_grace{20};

/// One operation after the other: expose, order, wait until it is answered or time is up, revoke, refill.
struct slot {
    std::array<memory::buffer, buffers_of_slot> buffers{};
    std::array<std::byte, buffers_of_slot> pattern{};
    std::size_t turn = 0;
    std::uint64_t operation = 0;
    exposure exposed;
    completion::timer time;
    bool active = false;
    bool revoking = false;
    bool rude = false;
    bool refilled = false;
};

class owner {
public:
    explicit owner(const owner_options& options)
        : options_(options)
        , random_(options.seed)
        , runtime_(context_.get_executor(), shape(options))
        , slots_(options.depth)
        , watchdog_([this] { give_up("no operation has ended for a minute"); })
    {
        for (auto& each : slots_) {
            for (auto& buffer : each.buffers) {
                buffer = runtime_.pool().acquire().value();
            }
            each.pattern.fill(written_by_peer);
            for (auto& buffer : each.buffers) {
                std::fill(buffer.bytes().begin(), buffer.bytes().end(), written_by_peer);
            }
            each.time.set_action([this, &each] { time_is_up(each); });
        }
    }

    figures run()
    {
        runtime_.poller().hold(); // until lost() is told nothing else may be outstanding
        connect();
        while (!done_) {
            context_.restart();
            (void)context_.run_one();
        }
        for (auto& each : slots_) {
            for (std::size_t other = 0; other != buffers_of_slot; ++other) {
                check(each, other);
            }
        }
        seen_.quarantined = runtime_.pool().statistics().quarantined;
        connection_.reset();
        runtime_.poller().release_hold();
        return seen_;
    }

private:
    static runtime_options shape(const owner_options& options)
    {
        runtime_options shape;
        shape.transport = options.transport;
        shape.memory_windows = options.windows;
        shape.pool.slice_bytes = buffer_bytes;
        return shape;
    }

    void connect()
    {
        watch();
        connection::connect_options wanted;
        wanted.transport = options_.transport;
        async_connect(
            runtime_, options_.peer, wanted, [this](error_code error, std::unique_ptr<connection::connection> made) {
                if (error.failed()) {
                    give_up("no connection: " + error.message());
                    return;
                }
                connection_ = std::move(made);
                down_ = false;
                connection_->on_message([this](std::span<const std::byte> message) { answered(message); });
                connection_->on_down([this](error_code why) { lost(why); });
                since_rude_ = 0;
                go_on();
            });
    }

    /// Starts what may start; connects again when all is over on a connection that is down.
    void go_on()
    {
        if (done_) {
            return;
        }
        const bool idle = std::none_of(slots_.begin(), slots_.end(), [](const slot& each) { return each.active; });
        if (idle && seen_.operations >= options_.operations && seen_.unanswered != 0 && !rude_under_way_) {
            done_ = true;
            return;
        }
        if (down_ && idle) {
            rude_under_way_ = false;
            connection_.reset();
            connect();
            return;
        }
        if (down_ || rude_under_way_) {
            return;
        }
        // The one that is not to be answered runs alone: what it costs is then nobody else's.
        const bool enough = seen_.operations >= options_.operations;
        if (since_rude_ >= rude_interval || enough) {
            if (idle) {
                rude_under_way_ = true;
                begin(slots_.front(), true);
            }
            return;
        }
        for (auto& each : slots_) {
            if (!each.active) {
                begin(each, false);
            }
        }
    }

    void begin(slot& which, bool rude)
    {
        ++since_rude_;
        which.active = true;
        which.revoking = false;
        which.rude = rude;
        which.refilled = false;
        rude_operation_ = rude ? operations_ + 1 : rude_operation_;
        which.operation = ++operations_;
        which.turn = (which.turn + 1) % buffers_of_slot;
        check(which, which.turn);
        const auto buffer = which.buffers[which.turn].slice();
        transfer::async_expose(
            *connection_, buffer, fabric::access::remote_write, [this, &which](error_code error, exposure made) {
                which.exposed = std::move(made);
                if (error.failed()) {
                    ended(which); // the connection is on its way down
                    return;
                }
                give_order(which);
            });
    }

    void give_order(slot& which)
    {
        // One in four has time enough.
        const auto time = which.operation % 4 == 0 && !which.rude
            ? time_us_ample
            : static_cast<std::uint32_t>(uniform_below(random_, time_us_max));
        const auto delay = static_cast<std::uint32_t>(uniform_below(random_, delay_us_max));
        order what{which.operation, delay, 0, which.exposed.remote()};
        if (which.rude) {
            what.rude = 1;
            what.delay_us = time + 3 * static_cast<std::uint32_t>(std::chrono::microseconds(rude_grace).count());
        }
        const auto due = saturating_add(runtime_.time().now(), std::chrono::microseconds(time));
        runtime_.poller().timers().start(which.time, due);
        auto* const lane = connection_->lane_at(0);
        if (lane == nullptr) {
            return;
        }
        const auto message = lane->acquire_message();
        if (!message) {
            return; // time runs out without an order
        }
        const auto length = encode(what, message->bytes);
        transfer::async_send(
            *lane, message->segment(length), [lane, kept = *message](error_code) { lane->release_message(kept); });
    }

    void answered(std::span<const std::byte> message)
    {
        std::uint64_t operation = 0;
        std::memcpy(&operation, message.data(), std::min(message.size(), sizeof operation));
        const auto found = std::find_if(slots_.begin(), slots_.end(),
            [operation](const slot& each) { return each.active && each.operation == operation; });
        if (operation == rude_operation_) { // it came before the invalidation: no lane was lost
            rude_under_way_ = false;
        }
        if (found == slots_.end() || found->revoking) {
            seen_.late += operation != rude_operation_ ? 1U : 0U;
            go_on();
            return;
        }
        ++seen_.answered;
        found->time.stop();
        revoke(*found);
    }

    void time_is_up(slot& which)
    {
        ++seen_.timed_out;
        if (!options_.fence) {
            refill(which); // the mistake this test is to find
            which.refilled = true;
        }
        revoke(which);
    }

    void revoke(slot& which)
    {
        which.revoking = true;
        transfer::revoke_options options;
        options.revoke_grace = which.rude ? rude_grace : polite_grace;
        which.exposed.async_revoke(options, [this, &which](error_code error) {
            seen_.fences_failed += error.failed() ? 1U : 0U;
            if (!which.refilled) {
                refill(which);
            }
            ended(which);
        });
    }

    void ended(slot& which)
    {
        which.time.stop();
        which.active = false;
        ++seen_.operations;
        watch();
        if (which.rude) {
            ++seen_.unanswered; // and the connection goes when the peer writes
        }
        go_on();
    }

    void refill(slot& which)
    {
        auto& pattern = which.pattern[which.turn];
        pattern = static_cast<std::byte>(which.operation % 0xee); // never written_by_peer
        const auto bytes = which.buffers[which.turn].bytes();
        std::fill(bytes.begin(), bytes.end(), pattern);
    }

    void check(slot& which, std::size_t turn)
    {
        const auto bytes = which.buffers[turn].bytes();
        const auto good = std::count(bytes.begin(), bytes.end(), which.pattern[turn]);
        const auto strays = bytes.size() - static_cast<std::size_t>(good);
        seen_.stray_operations += strays != 0 ? 1U : 0U;
        seen_.stray_bytes += strays;
    }

    void lost(error_code why)
    {
        down_ = true;
        if (rude_under_way_) {
            ++seen_.lanes_lost_rude;
        } else if (++seen_.lanes_lost == lanes_lost_max) {
            give_up("too many lanes lost, last: " + why.message());
        }
        go_on();
    }

    void watch() { runtime_.poller().timers().start(watchdog_, saturating_add(runtime_.time().now(), patience)); }

    void give_up(std::string why)
    {
        seen_.trouble = std::move(why);
        done_ = true;
    }

    owner_options options_;
    seeded_random_source random_;
    boost::asio::io_context context_;
    runtime runtime_;
    std::unique_ptr<connection::connection> connection_;
    std::vector<slot> slots_;
    completion::timer watchdog_;
    figures seen_;
    std::uint64_t operations_ = 0;
    std::uint64_t since_rude_ = 0;
    std::uint64_t rude_operation_ = 0;
    bool rude_under_way_ = false;
    bool down_ = true;
    bool done_ = false;
};

} // namespace

figures run_owner(const owner_options& options)
{
    return owner(options).run();
}

} // namespace penstock::fence_test
