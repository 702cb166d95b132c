// Memory taken back while a peer writes to it: nothing lands after the call or completion that took it back.

#include "conformance/suite.hpp"

#include <algorithm>
#include <atomic>
#include <thread>

namespace penstock::conformance {

namespace {

constexpr std::byte refilled{0x77};
constexpr std::size_t arena = std::size_t{16} << 20U;
constexpr std::size_t piece = std::size_t{4} << 20U;

end_options large()
{
    end_options options;
    options.buffer_bytes = arena;
    return options;
}

/// Keeps four large writes outstanding, without end: whenever the memory is taken back, one is half landed.
class stream {
public:
    stream(end& from, remote_segment to, std::size_t size = piece, std::size_t places = 4)
        : from_(from)
        , to_(to)
        , size_(size)
        , places_(places)
    {
        fill_with(from_.buffer.bytes(), std::byte{0x11});
        if (places_ == 1) // each write changes every byte of the one before
            fill_with(from_.bytes(size_, size_), std::byte{0x22});
        top_up();
    }

    void top_up()
    {
        while (posted_ - finished_ < 4) {
            auto there = to_;
            there.address += posted_ % places_ * size_;
            const auto offset = posted_ % std::max<std::size_t>(places_, 2) * size_;
            post(from_, {write(posted_, {from_.segment(offset, size_)}, there)});
            ++posted_;
        }
    }

    /// Takes completions; false once one has failed.
    bool flows()
    {
        while (!failed_ && !from_.completions->told.empty()) {
            const auto told = from_.completions->next("a write");
            expect_equal("id", told.id, finished_);
            ++finished_;
            if (told.status != completion_status::success) {
                failed_ = true;
                expect_equal("the write that met the end", told.status, completion_status::remote_access_error);
            }
        }
        if (!failed_)
            top_up();
        return !failed_;
    }

    void run_until_some_landed(const end& into)
    {
        from_.home.run_until("the peer's bytes begin to land", [&] {
            flows();
            return finished_ >= 2 && peek(into.buffer.at(size_ / 2)) == std::byte{0x11};
        });
    }

    void expect_to_end(end& into)
    {
        from_.home.run_until("the stream ends with a failure", [&] { return !flows(); });
        while (finished_ != posted_)
            from_.completions->expect_failure(finished_++, completion_status::flushed);
        from_.expect_in_error();
        into.expect_in_error();
    }

private:
    end& from_;
    remote_segment to_;
    std::size_t size_;
    std::size_t places_; // where the writes go, in turns
    std::uint64_t posted_ = 0;
    std::uint64_t finished_ = 0;
    bool failed_ = false;
};

remote_segment through(const memory_window& window, const end& over)
{
    return {reinterpret_cast<std::uint64_t>(over.buffer.at(0)), window.key()};
}

void expect_no_late_byte(stream& writes, end& into)
{
    fill_with(into.buffer.bytes(), refilled);
    writes.expect_to_end(into);
    into.home.run_for(20ms);
    expect_filled_with(into.buffer.bytes(), refilled);
}

void window_invalidated_in_a_stream(world& home)
{
    linked ends(home, large(), large());
    auto& b = ends.b;
    const auto window = make_window(b);
    bind_and_wait(b, *window, 0, arena);
    stream writes(ends.a, through(*window, b));
    writes.run_until_some_landed(b);
    post(b, {local_invalidate(5, window->key())});
    home.run_until("the invalidate completes", [&] {
        writes.flows();
        return !ends.b.completions->told.empty();
    });
    // The invalidate may lose the race against its own connection's end, and is then flushed: the fence is the same.
    const auto told = b.completions->next("the invalidate");
    expect_equal("id", told.id, 5U);
    expect(told.status == completion_status::success || told.status == completion_status::flushed,
        "the invalidate completes, seen " + describe(told));
    expect_no_late_byte(writes, b);
}

void window_destroyed_in_a_stream(world& home)
{
    linked ends(home, large(), large());
    auto window = make_window(ends.b);
    bind_and_wait(ends.b, *window, 0, arena);
    stream writes(ends.a, through(*window, ends.b));
    writes.run_until_some_landed(ends.b);
    window.reset();
    expect_no_late_byte(writes, ends.b);
}

void region_deregistered_in_a_stream(world& home)
{
    linked ends(home, large(), large());
    stream writes(ends.a, ends.b.remote(0));
    writes.run_until_some_landed(ends.b);
    expect_success("deregister", ends.b.region->deregister());
    expect_no_late_byte(writes, ends.b);
}

/// The same, one half-landed write at a time, stopped at eight places in the middle of the message.
template <class TakeBack>
void stop_at_many_places(world& home, bool by_window, TakeBack take_back)
{
    for (std::size_t round = 0; round != 8; ++round) {
        linked ends(home, large(), large());
        auto& b = ends.b;
        std::unique_ptr<memory_window> window;
        if (by_window) {
            window = make_window(b);
            bind_and_wait(b, *window, 0, arena);
        }
        fill_with(ends.a.bytes(0, piece), std::byte{0x11});
        post(ends.a, {write(1, {ends.a.segment(0, piece)}, by_window ? through(*window, b) : b.remote(0))});
        const auto* mark = b.buffer.at(round * piece / 8);
        home.run_until("the write reaches the mark", [&] { return peek(mark) == std::byte{0x11}; });
        take_back(b, window);
        fill_with(b.buffer.bytes(), refilled);
        const auto told = ends.a.completions->next("the write");
        expect(told.status == completion_status::success || told.status == completion_status::remote_access_error,
            "the write was through or is refused, seen " + describe(told));
        home.run_for(2ms);
        expect_filled_with(b.bytes(0, piece), refilled);
    }
}

void region_deregistered_at_many_places(world& home)
{
    stop_at_many_places(home, false, [](end& b, const auto&) { expect_success("deregister", b.region->deregister()); });
}

void window_destroyed_at_many_places(world& home)
{
    stop_at_many_places(home, true, [](end&, auto& window) { window.reset(); });
}

void window_invalidated_at_many_places(world& home)
{
    stop_at_many_places(home, true, [](end& b, const auto& window) {
        post(b, {local_invalidate(5, window->key())});
        const auto told = b.completions->next("the invalidate");
        expect(told.status == completion_status::success || told.status == completion_status::flushed,
            "the invalidate completes, seen " + describe(told));
    });
}

// Deregistering from another thread must wait for the chunk in progress. The thread sees a write begin to land, takes
// the memory back and refills it at once, faster than the rest would land: many tries, as the two must run side by side.
void region_deregistered_by_another_thread(world& home)
{
    constexpr std::size_t size = std::size_t{512} << 10U;
    const auto at = listen(home);
    end_options options;
    options.buffer_bytes = 2 * size;
    for (int round = 0; round != 40; ++round) {
        end a(home, home.near, options);
        end b(home, home.far, options);
        connect(home, *at, a, b);
        stream writes(a, b.remote(0), size, 1);
        error_code seen;
        bool landed = false;
        std::atomic<bool> done{false};
        std::jthread other([&] {
            const auto deadline = std::chrono::steady_clock::now() + patience;
            const auto* const mark = b.buffer.at(4096);
            const auto before = peek(mark);
            while (!landed && std::chrono::steady_clock::now() < deadline)
                for (int look = 0; look != 1000 && !landed; ++look)
                    landed = peek(mark) != before;
            seen = b.region->deregister();
            fill_with(b.buffer.bytes(), refilled);
            done.store(true, std::memory_order_release);
        });
        home.run_until(
            "deregistration returns",
            [&] {
                writes.flows();
                return done.load(std::memory_order_acquire);
            },
            2 * patience);
        other.join();
        expect(landed, "the peer's bytes begin to land");
        expect_success("deregister", seen);
        writes.expect_to_end(b);
        expect_filled_with(b.buffer.bytes(), refilled);
    }
}

void queue_pair_moved_to_error_in_a_stream(world& home)
{
    linked ends(home, large(), large());
    auto& [a, b] = ends;
    stream writes(a, b.remote(0));
    b.receive_nothing(5);
    writes.run_until_some_landed(b);
    expect_success("move_to_error", b.pair->move_to_error());
    b.completions->expect_failure(5, completion_status::flushed);
    fill_with(b.buffer.bytes(), refilled);
    home.run_for(20ms);
    expect_filled_with(b.buffer.bytes(), refilled);
}

void queue_pair_destroyed_in_a_stream(world& home)
{
    linked ends(home, large(), large());
    auto& [a, b] = ends;
    stream writes(a, b.remote(0));
    writes.run_until_some_landed(b);
    b.link.reset();
    b.pair.reset();
    fill_with(b.buffer.bytes(), refilled);
    home.run_for(20ms);
    expect_filled_with(b.buffer.bytes(), refilled);
    a.expect_in_error();
}

// The source of a peer's read taken back: the read fails, it never delivers bytes of later.
void source_of_a_read_deregistered(world& home)
{
    linked ends(home, large(), large());
    auto& [a, b] = ends;
    fill_with(b.buffer.bytes(), std::byte{0x11});
    std::uint64_t posted = 0;
    std::uint64_t finished = 0;
    bool failed = false;
    const auto flows = [&] {
        while (!failed && posted - finished < 4) {
            post(ends.a, {read(posted, {ends.a.segment(posted % 4 * piece, piece)}, ends.b.remote(0))});
            ++posted;
        }
        while (!failed && !ends.a.completions->told.empty()) {
            const auto told = ends.a.completions->next("a read");
            expect_equal("id", told.id, finished++);
            failed = told.status != completion_status::success;
            if (failed)
                expect_equal("the read that met the end", told.status, completion_status::remote_access_error);
            else
                expect_filled_with(ends.a.bytes(told.id % 4 * piece, piece), std::byte{0x11});
        }
        return !failed;
    };
    home.run_until("two reads are through", [&] {
        flows();
        return finished >= 2;
    });
    expect_success("deregister", b.region->deregister());
    fill_with(b.buffer.bytes(), refilled);
    home.run_until("the reads end with a failure", [&] { return !flows(); });
    a.expect_in_error();
    b.expect_in_error();
}

void region_in_use_while_bound(linked& ends)
{
    auto& b = ends.b;
    auto window = make_window(b);
    bind_and_wait(b, *window, 0, 4096);
    expect_error("deregistering under a window", b.region->deregister(), errc::region_in_use);
    // The refusal changed nothing.
    post(ends.a,
        {write(1, {ends.a.segment(0, 64)}, through(*window, b)), write(2, {ends.a.segment(0, 64)}, b.remote(0))});
    ends.a.completions->expect_success(1, completion_opcode::write);
    ends.a.completions->expect_success(2, completion_opcode::write);
    window.reset();
    expect_success("deregistering after the window is gone", b.region->deregister());
}

void region_free_after_invalidate(linked& ends)
{
    auto& b = ends.b;
    const auto window = make_window(b);
    bind_and_wait(b, *window, 0, 4096);
    post(b, {local_invalidate(5, window->key())});
    b.completions->expect_success(5, completion_opcode::local_invalidate);
    expect_success("deregister", b.region->deregister());
}

// Buffers are the caller's again when the flush is told, whoever is still connected.
void local_buffers_after_flush(world& home)
{
    linked ends(home, large(), large());
    auto& [a, b] = ends;
    fill_with(b.buffer.bytes(), std::byte{0x11});
    for (std::uint64_t i = 0; i != 4; ++i)
        post(a, {read(i, {a.segment(i * piece, piece)}, b.remote(i * piece))});
    home.run_until("the bytes read begin to land", [&] { return peek(ends.a.buffer.at(0)) == std::byte{0x11}; });
    expect_success("move_to_error", a.pair->move_to_error());
    for (std::uint64_t i = 0; i != 4; ++i) {
        const auto told = a.completions->next("a read");
        expect_equal("id", told.id, i);
    }
    fill_with(a.buffer.bytes(), refilled);
    home.run_for(20ms);
    expect_filled_with(a.buffer.bytes(), refilled);
}

constexpr conformance_case cases[] = {
    {"revocation/window_invalidated_in_a_stream", window_invalidated_in_a_stream},
    {"revocation/window_destroyed_in_a_stream", window_destroyed_in_a_stream},
    {"revocation/region_deregistered_in_a_stream", region_deregistered_in_a_stream},
    {"revocation/region_deregistered_at_many_places", region_deregistered_at_many_places},
    {"revocation/window_destroyed_at_many_places", window_destroyed_at_many_places},
    {"revocation/window_invalidated_at_many_places", window_invalidated_at_many_places},
    {"revocation/region_deregistered_by_another_thread", region_deregistered_by_another_thread},
    {"revocation/queue_pair_moved_to_error_in_a_stream", queue_pair_moved_to_error_in_a_stream},
    {"revocation/queue_pair_destroyed_in_a_stream", queue_pair_destroyed_in_a_stream},
    {"revocation/source_of_a_read_deregistered", source_of_a_read_deregistered},
    {"revocation/region_in_use_while_bound", region_in_use_while_bound},
    {"revocation/region_free_after_invalidate", region_free_after_invalidate},
    {"revocation/local_buffers_after_flush", local_buffers_after_flush},
};

} // namespace

case_table revocation_cases()
{
    return cases;
}

} // namespace penstock::conformance
