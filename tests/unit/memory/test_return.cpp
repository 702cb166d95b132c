#include "fake_domain.hpp"

#include "support/catch.hpp"

#include <penstock/memory/memory_pool.hpp>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

using namespace penstock;
using namespace penstock::memory;
using penstock::test::fake_domain;

namespace {

/// Hands buffers from the pool's thread to the threads that give them back.
class channel {
public:
    void put(buffer given)
    {
        {
            const std::lock_guard lock(mutex_);
            waiting_.push_back(std::move(given));
        }
        changed_.notify_one();
    }
    void close()
    {
        {
            const std::lock_guard lock(mutex_);
            closed_ = true;
        }
        changed_.notify_all();
    }
    /// An empty buffer once it is closed.
    buffer take()
    {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return closed_ || !waiting_.empty(); });
        if (waiting_.empty()) {
            return {};
        }
        auto next = std::move(waiting_.front());
        waiting_.pop_front();
        return next;
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<buffer> waiting_;
    bool closed_ = false;
};

struct counting_listener final : return_listener {
    std::atomic<int> calls{0};
    void returned() noexcept override
    {
        ++calls;
        calls.notify_all();
    }
};

} // namespace

TEST_CASE("buffers are given back on other threads while the owner takes new ones")
{
    fake_domain domain;
    memory_pool pool({&domain}, {4'096, 65'536, 65'536});
    channel away;
    std::atomic<std::uint64_t> overwritten{0};
    std::vector<std::thread> threads;
    for (int i = 0; i != 3; ++i) {
        threads.emplace_back([&] {
            while (const auto held = away.take()) {
                // Written by the owner before, and by nobody since.
                for (const auto each : held.bytes()) {
                    overwritten += each != held.bytes().front() ? 1U : 0U;
                }
            }
        });
    }
    std::uint64_t handed_out = 0;
    while (handed_out != 20'000) {
        auto next = pool.acquire(1'000 + 7'000 * (handed_out % 2));
        if (!next) {
            std::this_thread::yield(); // all of it is with the threads
            continue;
        }
        ++handed_out;
        std::fill(next->bytes().begin(), next->bytes().end(), static_cast<std::byte>(handed_out));
        if (handed_out % 8 != 0) { // the rest is given back here
            away.put(std::move(*next));
        }
    }
    away.close();
    for (auto& each : threads) {
        each.join();
    }
    CHECK(overwritten == 0);
    CHECK(pool.statistics().in_use == 0);
    CHECK(pool.statistics().bytes_in_use == 0);
    CHECK(pool.statistics().fragmentation == 0); // all of it, none twice
}

TEST_CASE("a listener hears once of memory that came back, until it asks again")
{
    fake_domain domain;
    memory_pool pool({&domain}, {4'096, 16'384, 16'384});
    const auto listener = std::make_shared<counting_listener>();
    pool.on_return(listener);
    {
        const auto held = pool.acquire().value();
    }
    CHECK(listener->calls == 0);

    pool.watch_returns(true);
    {
        const auto held = pool.acquire().value();
    }
    CHECK(listener->calls == 1);
    {
        const auto held = pool.acquire().value();
    }
    CHECK(listener->calls == 2); // acquire() took in what came back

    std::vector<buffer> held;
    for (int i = 0; i != 4; ++i) {
        held.push_back(pool.acquire().value());
    }
    std::thread([&held] { held.clear(); }).join();
    CHECK(listener->calls == 3);
    CHECK(pool.statistics().in_use == 0);

    pool.watch_returns(false);
    {
        const auto last = pool.acquire().value();
    }
    CHECK(listener->calls == 3);
}

TEST_CASE("the pool may end as soon as the last buffer is back")
{
    for (int round = 0; round != 200; ++round) {
        fake_domain domain;
        auto pool = std::make_unique<memory_pool>(
            std::vector<fabric::protection_domain*>{&domain}, memory_pool_options{4'096, 4'096, 4'096});
        const auto listener = std::make_shared<counting_listener>();
        pool->on_return(listener);
        auto held = pool->acquire().value();
        pool->watch_returns(true);
        std::thread other([last = std::move(held)]() mutable { const auto ended = std::move(last); });
        while (pool->statistics().in_use != 0) {
            std::this_thread::yield();
        }
        pool.reset();
        other.join();
        CHECK(listener->calls == 1);
    }
}
