// Keeps `depth` operations outstanding for a while, and says how many ended and how long they took.

#include "options.hpp"

#include <penstock/core/random.hpp>
#include <penstock/transfer/transfer.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace transfer_perf {
namespace {

namespace asio = boost::asio;
namespace fabric = penstock::fabric;
namespace transfer = penstock::transfer;
using penstock::error_code;
using penstock::time_point;

constexpr std::chrono::milliseconds warm_up{200};
constexpr std::size_t latencies_max = 1U << 20U;

class load {
public:
    load(penstock::runtime& rt, penstock::connection::connection& over, const grant& target, const options& with)
        : runtime_(rt)
        , lane_(over.data())
        , target_(target)
        , with_(with)
        , memory_(with.size * with.depth)
        , region_(lane_.device().domain->register_memory(memory_, fabric::access::local_write).value())
        , started_(with.depth)
    {
        latencies_.reserve(latencies_max);
        penstock::system_random_source().fill(memory_);
    }

    /// `ended` is called when nothing is outstanding any more.
    void start(std::function<void()> ended)
    {
        ended_ = std::move(ended);
        const auto now = runtime_.time().now();
        began_ = now + warm_up;
        ends_ = began_ + std::chrono::duration_cast<std::chrono::nanoseconds>(with_.length);
        for (std::uint32_t slot = 0; slot != with_.depth; ++slot) {
            ++outstanding_;
            post(slot, now);
        }
    }

    void answered(error_code error = {})
    {
        if (std::exchange(asked_, false)) {
            finished(0, error);
        }
    }

    void print(const penstock::connection::connection_properties& over)
    {
        const auto elapsed = std::chrono::duration<double>(last_ - began_).count();
        const auto operations = static_cast<double>(count_) / elapsed;
        // A ping-pong is told as perftest does: half a round trip.
        const double share = with_.what == operation::send ? 0.5 : 1.0;
        std::sort(latencies_.begin(), latencies_.end());
        const auto quantile = [&](double part) {
            const auto at = static_cast<std::size_t>(part * static_cast<double>(latencies_.size() - 1));
            return share * static_cast<double>(latencies_[at].count()) / 1e3;
        };
        const nlohmann::ordered_json result{
            {"transport", to_string(over.transport)},
            {"reason", over.transport_reason},
            {"size", with_.size},
            {"depth", with_.depth},
            {"seconds", elapsed},
            {"operations", count_},
            {"operations_per_second", operations},
            {"bytes_per_second", operations * static_cast<double>(with_.size)},
            {"average_us", share * 1e6 / operations * with_.depth},
            {"p50_us", quantile(0.5)},
            {"p99_us", quantile(0.99)},
        };
        std::printf("%s\n", result.dump().c_str());
    }

    bool counted() const noexcept { return count_ != 0; }
    error_code failure() const noexcept { return failure_; }

private:
    struct next {
        load* owner;
        std::uint32_t slot;
        void operator()(error_code error) const { owner->finished(slot, error); }
    };

    void finished(std::uint32_t slot, error_code error)
    {
        const auto now = runtime_.time().now();
        if (error.failed()) {
            failure_ = error;
        } else if (now >= began_ && now < ends_) {
            ++count_;
            last_ = now;
            if (latencies_.size() != latencies_max) {
                latencies_.push_back(now - started_[slot]);
            }
        }
        if (now < ends_ && !failure_.failed()) {
            post(slot, now);
        } else {
            ended_one();
        }
    }

    void ended_one()
    {
        if (--outstanding_ == 0) {
            asio::post(runtime_.executor(), std::move(ended_));
        }
    }

    void post(std::uint32_t slot, time_point now)
    {
        started_[slot] = now;
        const fabric::local_segment local{
            memory_.data() + slot * with_.size, static_cast<std::uint32_t>(with_.size), region_->lkey()};
        switch (with_.what) {
        case operation::read: transfer::async_read(lane_, local, remote(), next{this, slot}); break;
        case operation::write: transfer::async_write(lane_, local, remote(), next{this, slot}); break;
        case operation::send: ask(); break;
        }
    }

    // It has come back when the answer has: the connection's message handler calls answered().
    void ask()
    {
        const auto slot = lane_.acquire_message().value();
        ++outstanding_;
        asked_ = true;
        transfer::async_send(lane_, slot.segment(with_.size), [this, slot](error_code error) {
            lane_.release_message(slot);
            failure_ = error.failed() ? error : failure_;
            ended_one();
        });
    }

    fabric::remote_segment remote()
    {
        state_ ^= state_ << 13U;
        state_ ^= state_ >> 7U;
        state_ ^= state_ << 17U;
        return {target_.address + state_ % (target_.bytes / with_.size) * with_.size, target_.key};
    }

    penstock::runtime& runtime_;
    penstock::connection::lane& lane_;
    grant target_;
    options with_;
    std::vector<std::byte> memory_;
    std::unique_ptr<fabric::memory_region> region_;
    std::vector<time_point> started_;
    std::vector<std::chrono::nanoseconds> latencies_;
    std::function<void()> ended_;
    time_point began_{};
    time_point ends_{};
    time_point last_{};
    std::uint64_t count_ = 0;
    std::uint64_t state_ = 88172645463325252U;
    std::uint32_t outstanding_ = 0;
    bool asked_ = false; // an answer is to come
    error_code failure_;
};

template <class Start>
asio::awaitable<void> until(Start start)
{
    co_await asio::async_initiate<const asio::use_awaitable_t<>&, void()>(
        [&start](auto handler) {
            auto shared = std::make_shared<decltype(handler)>(std::move(handler));
            start([shared] { std::move (*shared)(); });
        },
        asio::use_awaitable);
}

asio::awaitable<void> run(penstock::runtime& rt, const options& with)
{
    penstock::connection::connect_options wanted;
    wanted.transport = with.transport;
    wanted.depth = std::max(with.depth, 16U);
    wanted.messages = messages;
    const auto over = co_await penstock::connection::async_connect(rt, with.where, wanted, asio::use_awaitable);

    grant target;
    const auto hello = over->data().acquire_message().value();
    co_await until([&](auto ended) {
        over->on_message([&rt, &target, ended](std::span<const std::byte> message) {
            std::memcpy(&target, message.data(), std::min(message.size(), sizeof target));
            asio::post(rt.executor(), ended); // not inside the handler that is replaced then
        });
        transfer::async_send(over->data(), hello.segment(1), [](error_code) {});
    });
    over->data().release_message(hello);
    if (with.size > target.bytes) {
        throw std::runtime_error("the server exposes " + std::to_string(target.bytes) + " bytes, --size is more");
    }

    load work(rt, *over, target, with);
    over->on_message([&work](std::span<const std::byte>) { work.answered(); });
    over->on_down([&work](error_code why) { work.answered(why); });
    co_await until([&](auto ended) { work.start(std::move(ended)); });
    if (work.failure().failed()) {
        throw penstock::system_error(work.failure(), "an operation failed");
    }
    if (!work.counted()) {
        throw std::runtime_error("no operation ended within --seconds");
    }
    work.print(over->properties());
}

} // namespace

void measure(const options& with)
{
    asio::io_context io(1);
    penstock::runtime rt(io.get_executor(), spinning(with, penstock::completion::poll_options::spin_forever));
    rt.poller().hold();
    asio::co_spawn(io, run(rt, with), [&](std::exception_ptr thrown) {
        rt.poller().release_hold();
        io.stop();
        if (thrown) {
            std::rethrow_exception(thrown);
        }
    });
    io.run();
}

} // namespace transfer_perf
