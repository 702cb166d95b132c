// Two threads, one for each side, as two programs would be; and calls that any thread may make.

#include "conformance/suite.hpp"

#include <array>
#include <atomic>
#include <exception>
#include <thread>

namespace penstock::conformance {

namespace {

/// Runs `body` in a thread and brings its disappointment home.
class helper {
public:
    template <class Body>
    explicit helper(Body body)
        : thread_([this, body] {
            try {
                body();
            } catch (...) {
                failure_ = std::current_exception();
            }
            done.store(true, std::memory_order_release);
        })
    {}
    helper(const helper&) = delete;
    helper& operator=(const helper&) = delete;
    ~helper()
    {
        if (thread_.joinable())
            thread_.join();
    }
    void join()
    {
        thread_.join();
        if (failure_)
            std::rethrow_exception(failure_);
    }

    std::atomic<bool> done{false};

private:
    std::exception_ptr failure_;
    std::thread thread_;
};

void ping_pong(linked& ends)
{
    constexpr std::uint64_t rounds = 500;
    for (auto* side : {&ends.a, &ends.b}) {
        side->completions->paused = true;
        side->receive(0, 8, 8);
    }
    // Both are through when both say so: until then each polls, as the other's last message may need it.
    std::atomic<int> through{0};
    const auto run = [&through](end& mine, bool begins) {
        std::uint64_t sent = 0;
        std::uint64_t received = 0;
        std::uint64_t told_sent = 0;
        const auto say = [&] {
            store_u64(mine.buffer.at(0), sent);
            post(mine, {send(sent++, {mine.segment(0, 8)})});
        };
        if (begins)
            say();
        const auto deadline = std::chrono::steady_clock::now() + 3 * patience;
        bool counted = false;
        while (through.load() != 2) {
            if (std::chrono::steady_clock::now() > deadline)
                fail("500 rounds within 30 s: " + std::to_string(received) + " received, " + std::to_string(told_sent)
                    + " sent");
            std::array<work_completion, 1> one;
            if (mine.completions->handle->poll(one) == 1) {
                expect_equal("status", one[0].status, completion_status::success);
                if (one[0].operation == completion_opcode::receive) {
                    expect_equal("message", load_u64(mine.buffer.at(8)), received);
                    ++received;
                    mine.receive(0, 8, 8);
                } else {
                    expect_equal("id", one[0].id, told_sent);
                    ++told_sent;
                }
            }
            // The buffer of the last message is ours again when its send has completed.
            if (sent == told_sent && sent < rounds && received == (begins ? sent : sent + 1))
                say();
            if (!counted && received == rounds && told_sent == rounds) {
                counted = true;
                through.fetch_add(1);
            }
        }
    };
    helper other([&] { run(ends.b, false); });
    run(ends.a, true);
    other.join();
}

void streams_both_ways(world& home)
{
    constexpr std::size_t piece = 200'000;
    constexpr std::uint64_t count = 60;
    end_options options;
    options.buffer_bytes = std::size_t{1} << 20U;
    linked ends(home, options, options);
    std::atomic<int> finished{0};
    const auto run = [&finished](end& mine, end& peer) {
        std::uint64_t posted = 0;
        std::uint64_t done = 0;
        std::array<work_completion, 4> some;
        const auto deadline = std::chrono::steady_clock::now() + 3 * patience;
        // Both go on polling until both are through: the peer's work needs it on some fabrics.
        while (finished.load() != 2) {
            expect(std::chrono::steady_clock::now() < deadline, "both streams end within 30 s");
            for (; posted != count && posted - done < 4; ++posted)
                post(mine, {write(posted, {mine.segment(posted % 2 * piece, piece)}, peer.remote(600'000))});
            const auto told = mine.completions->handle->poll(some);
            for (std::size_t i = 0; i != told; ++i) {
                expect_equal("status", some.at(i).status, completion_status::success);
                expect_equal("id", some.at(i).id, done);
                if (++done == count)
                    finished.fetch_add(1);
            }
        }
    };
    ends.a.completions->paused = true;
    ends.b.completions->paused = true;
    fill(ends.a.bytes(0, piece), 1);
    fill(ends.a.bytes(piece, piece), 1);
    fill(ends.b.bytes(0, piece), 2);
    fill(ends.b.bytes(piece, piece), 2);
    helper other([&] { run(ends.b, ends.a); });
    run(ends.a, ends.b);
    other.join();
    expect_pattern(ends.b.bytes(600'000, piece), 1);
    expect_pattern(ends.a.bytes(600'000, piece), 2);
}

// Registration is for any thread, also while a poller moves data.
void registration_beside_a_stream(linked& ends)
{
    auto& b = ends.b;
    helper other([&ends] {
        pages some(65536);
        for (int i = 0; i != 100; ++i) {
            const auto region = take("register_memory", ends.b.side.domain->register_memory(some.bytes(), every_right));
            const auto window = take("allocate_window", ends.b.side.domain->allocate_window());
            expect_success("deregister", region->deregister());
        }
    });
    std::uint64_t rounds = 0;
    while (!other.done.load(std::memory_order_acquire) || rounds < 50) {
        post(ends.a, {write(rounds, {ends.a.segment(0, 30000)}, b.remote(rounds % 1000))});
        ends.a.completions->expect_success(rounds, completion_opcode::write);
        ++rounds;
    }
    other.join();
}

// Each thread has its own connections, queues and channel; the device and the domain are shared.
void pollers_share_a_device(world& home)
{
    linked first(home);
    linked second(home);
    for (auto* ends : {&first, &second})
        for (auto* side : {&ends->a, &ends->b})
            side->completions->paused = true;
    const auto run = [](linked& ends) {
        std::array<work_completion, 4> some;
        for (std::uint64_t i = 0; i != 500; ++i) {
            store_u64(ends.a.buffer.at(0), i);
            ends.b.receive(i, 0, 8);
            post(ends.a, {send(i, {ends.a.segment(0, 8)})});
            const auto deadline = std::chrono::steady_clock::now() + patience;
            for (std::size_t seen = 0; seen != 2;) {
                expect(std::chrono::steady_clock::now() < deadline, "a message within 10 s");
                for (auto* side : {&ends.a, &ends.b}) {
                    const auto count = side->completions->handle->poll(some);
                    for (std::size_t k = 0; k != count; ++k)
                        expect_equal("status", some.at(k).status, completion_status::success);
                    seen += count;
                }
            }
            expect_equal("message", load_u64(ends.b.buffer.at(0)), i);
        }
    };
    helper other([&] { run(second); });
    run(first);
    other.join();
}

constexpr conformance_case cases[] = {
    {"threads/ping_pong", ping_pong},
    {"threads/streams_both_ways", streams_both_ways},
    {"threads/registration_beside_a_stream", registration_beside_a_stream},
    {"threads/pollers_share_a_device", pollers_share_a_device},
};

} // namespace

case_table thread_cases()
{
    return cases;
}

} // namespace penstock::conformance
