// What becomes of outstanding work: moved to ERROR, disconnected, destroyed, the peer gone.

#include "conformance/suite.hpp"

#include <csignal>

#include <sys/wait.h>
#include <unistd.h>

namespace penstock::conformance {

namespace {

/// Five receives that find no message.
void load_receives(end& side)
{
    for (std::uint64_t i = 0; i != 5; ++i)
        side.receive(100 + i, 1024, 64);
}

/// The same, and five sends that find no receive: the peer must have none.
void load(end& side)
{
    for (std::uint64_t i = 0; i != 5; ++i)
        post(side, {send(i, {side.segment(0, 100)})});
    load_receives(side);
}

/// All complete, each queue in its order. The oldest send may say why; the others are flushed.
void expect_flushed(end& side, bool oldest_may_say_why, std::uint64_t sends = 5, const where& place = where::current())
{
    std::uint64_t sent = 5 - sends;
    std::uint64_t received = 100;
    while (sent != 5 || received != 105) {
        const auto told = side.completions->next("a flushed request", place);
        auto& expected = told.id >= 100 ? received : sent;
        expect_equal("id", told.id, expected, place);
        if (oldest_may_say_why && told.id == 0 && sends != 0)
            expect(told.status != completion_status::success, "the oldest send fails", place);
        else
            expect_equal("status", told.status, completion_status::flushed, place);
        expect_equal("queue pair", told.queue_pair_number, side.pair->number(), place);
        ++expected;
    }
    side.expect_in_error(place);
}

void moved_to_error(linked& ends)
{
    load(ends.a);
    ends.a.home.run_for(5ms);
    expect_success("move_to_error", ends.a.pair->move_to_error());
    expect_equal("state", ends.a.pair->state(), queue_pair_state::error);
    expect_flushed(ends.a, false);
    ends.a.home.run_for(5ms);
    expect(ends.a.completions->told.empty(), "each request completes once");
}

void moved_to_error_twice(linked& ends)
{
    load(ends.b);
    expect_success("move_to_error", ends.b.pair->move_to_error());
    expect_success("move_to_error again", ends.b.pair->move_to_error());
    expect_flushed(ends.b, false);
}

void posted_in_error(linked& ends)
{
    auto& a = ends.a;
    expect_success("move_to_error", a.pair->move_to_error());
    fill_with(ends.b.bytes(0, 64), std::byte{1});
    post(a, {write(1, {a.segment(0, 64)}, ends.b.remote(0)), send(2, {}).unsignaled(), read(3, {}, {})});
    a.receive(4, 0, 64);
    std::uint64_t sum = 0;
    for (int i = 0; i != 4; ++i) {
        const auto told = a.completions->next("a flushed request");
        expect_equal("status", told.status, completion_status::flushed);
        sum += told.id;
    }
    expect_equal("ids flushed", sum, 10U);
    expect_filled_with(ends.b.bytes(0, 64), std::byte{1});
    // Again and again: a queue in ERROR frees its slots.
    for (std::uint64_t i = 0; i != 200; ++i) {
        post(a, {send(i, {})});
        a.completions->expect_failure(i, completion_status::flushed);
    }
}

// A slot that is flushed at once still holds its completion's place in the completion queue.
void posted_in_error_without_connection(world& home)
{
    end a(home, home.near);
    a.receive(1, 0, 64);
    expect_success("move_to_error in INIT", a.pair->move_to_error());
    a.completions->expect_failure(1, completion_status::flushed);
    post(a, {send(2, {})});
    a.completions->expect_failure(2, completion_status::flushed);
}

void disconnected_here(linked& ends)
{
    load(ends.a);
    ends.a.home.run_for(5ms);
    expect_success("disconnect", ends.a.link->disconnect());
    ends.a.home.active.expect_event(connection_event_type::disconnected, ends.a.link.get());
    ends.a.home.passive.expect_event(connection_event_type::disconnected, ends.b.link.get());
    expect_flushed(ends.a, true);
    ends.b.expect_in_error();
}

void disconnected_there(linked& ends)
{
    load(ends.a);
    expect_success("disconnect", ends.b.link->disconnect());
    ends.a.home.active.expect_event(connection_event_type::disconnected, ends.a.link.get());
    ends.a.home.passive.expect_event(connection_event_type::disconnected, ends.b.link.get());
    expect_flushed(ends.a, true);
    ends.b.expect_in_error();
}

void disconnected_by_both(linked& ends)
{
    load_receives(ends.a);
    load_receives(ends.b);
    expect_success("disconnect", ends.a.link->disconnect());
    expect_success("disconnect", ends.b.link->disconnect());
    ends.a.home.active.expect_event(connection_event_type::disconnected, ends.a.link.get());
    ends.a.home.passive.expect_event(connection_event_type::disconnected, ends.b.link.get());
    expect_flushed(ends.a, false, 0);
    expect_flushed(ends.b, false, 0);
}

void connection_destroyed(linked& ends)
{
    load_receives(ends.a);
    load_receives(ends.b);
    ends.a.link.reset();
    expect_flushed(ends.a, false, 0);
    ends.a.home.passive.expect_event(connection_event_type::disconnected, ends.b.link.get());
    expect_flushed(ends.b, false, 0);
}

void queue_pair_destroyed(linked& ends)
{
    load(ends.a);
    ends.b.pair.reset();
    ends.b.link.reset();
    ends.a.home.run_until("the peer of a destroyed queue pair fails", [&] { return ends.a.in_error(); });
    expect_flushed(ends.a, true);
    ends.b.home.run_for(5ms);
    expect(ends.b.completions->told.empty(), "a destroyed queue pair tells nothing more");
}

// Completions told before the queue pair went stay readable.
void completions_outlive_the_queue_pair(linked& ends)
{
    auto& [a, b] = ends;
    b.receive_nothing(7);
    b.completions->paused = a.home.supports(capability::passive_target_progress);
    post(a, {send(1, {})});
    a.completions->expect_success(1, completion_opcode::send);
    const auto number = b.pair->number();
    b.link.reset();
    b.pair.reset();
    b.completions->paused = false;
    expect_equal("queue pair", b.completions->expect_success(7, completion_opcode::receive).queue_pair_number, number);
}

// What was done before the end stays done, in order, ahead of the flush.
void successes_come_before_the_flush(linked& ends)
{
    auto& [a, b] = ends;
    for (std::uint64_t i = 0; i != 10; ++i)
        b.receive_nothing(i);
    std::vector<work> list;
    for (std::uint64_t i = 0; i != 20; ++i)
        list.push_back(send(i, {}));
    post(a, std::move(list));
    for (std::uint64_t i = 0; i != 10; ++i)
        b.completions->expect_success(i, completion_opcode::receive);
    expect_success("disconnect", b.link->disconnect());
    bool failing = false;
    for (std::uint64_t i = 0; i != 20; ++i) {
        const auto told = a.completions->next("a send");
        expect_equal("id", told.id, i);
        if (told.status == completion_status::success)
            expect(!failing && i < 10, "success only for what was received, and before any failure");
        else
            failing = true;
    }
    expect(failing, "the sends without a receive fail");
}

// The other process: accepts one connection, tells where its buffer is, and polls for ever.
[[noreturn]] void serve_until_killed(const target& on, int report)
{
    try {
        world home(on);
        end_options options;
        options.buffer_bytes = std::size_t{4} << 20U;
        end b(home, home.far, options);
        const auto at = listen(home);
        const std::uint64_t words[3] = {at->local_endpoint().port(), b.remote(0).address, b.remote(0).rkey};
        if (::write(report, words, sizeof words) != static_cast<ssize_t>(sizeof words))
            ::_exit(3);
        auto request = home.passive.expect_event(connection_event_type::connect_request, nullptr);
        b.link = std::move(request.incoming);
        expect_success("accept", b.link->accept(*b.pair, {}));
        ::alarm(50); // for the case that nobody kills
        for (;;)
            home.turn();
    } catch (const std::exception&) {
        ::_exit(4);
    }
}

struct peer_process {
    explicit peer_process(const target& on)
    {
        int ends[2] = {};
        expect(::pipe(ends) == 0, "a pipe");
        process = ::fork();
        expect(process >= 0, "a child process");
        if (process == 0) {
            ::close(ends[0]);
            serve_until_killed(on, ends[1]);
        }
        ::close(ends[1]);
        const auto count = ::read(ends[0], words, sizeof words);
        ::close(ends[0]);
        expect(count == static_cast<ssize_t>(sizeof words), "the child reports where it listens");
    }
    peer_process(const peer_process&) = delete;
    peer_process& operator=(const peer_process&) = delete;
    ~peer_process() { kill(); }

    void kill()
    {
        if (process <= 0)
            return;
        ::kill(process, SIGKILL);
        ::waitpid(process, nullptr, 0);
        process = 0;
    }

    std::uint64_t words[3] = {}; // port, address, key
    pid_t process = 0;
};

void peer_killed(const target& on)
{
    peer_process peer(on); // forked before anything is opened here
    world home(on);
    end_options options;
    options.buffer_bytes = std::size_t{4} << 20U;
    end a(home, home.near, options);
    a.link = resolve(home, home.at(static_cast<std::uint16_t>(peer.words[0])));
    expect_success("connect", a.link->connect(*a.pair, {}));
    home.active.expect_event(connection_event_type::established, a.link.get());
    const remote_segment there{peer.words[1], static_cast<std::uint32_t>(peer.words[2])};
    a.receive_nothing(1U << 20U);
    std::uint64_t posted = 0;
    std::uint64_t finished = 0;
    bool failed = false;
    const auto turn = [&] {
        while (!failed && posted - finished < 16) {
            const auto length = std::size_t{256} << 10U;
            post(a,
                {write(posted, {a.segment(posted % 16 * length, length)},
                    {there.address + posted % 16 * length, there.rkey})});
            ++posted;
        }
        while (!a.completions->told.empty() && !failed) {
            const auto told = a.completions->told.front();
            if (told.id == 1U << 20U)
                break;
            a.completions->told.pop_front();
            expect_equal("id", told.id, finished);
            failed = told.status != completion_status::success;
            finished += failed ? 0 : 1;
        }
        return failed || !a.completions->told.empty();
    };
    home.run_until("some writes are through", [&] { return turn() || finished >= 20; });
    expect(!failed && finished >= 20, "the connection works until the peer is killed");
    peer.kill();
    home.run_until("the oldest request fails or the receive is flushed", turn);
    std::uint64_t expected = failed ? finished + 1 : finished;
    bool received = false;
    while (expected != posted || !received) {
        const auto told = a.completions->next("an outstanding request of a dead peer");
        expect(told.status != completion_status::success, "nothing succeeds after the failure");
        if (told.id == 1U << 20U)
            received = true;
        else
            expect_equal("id", told.id, expected++);
    }
    a.expect_in_error();
    home.active.expect_event(connection_event_type::disconnected, a.link.get());
}

// Nothing is outstanding but a receive: the death is noticed all the same.
void idle_peer_killed(const target& on)
{
    peer_process peer(on);
    world home(on);
    end a(home, home.near);
    a.link = resolve(home, home.at(static_cast<std::uint16_t>(peer.words[0])));
    expect_success("connect", a.link->connect(*a.pair, {}));
    home.active.expect_event(connection_event_type::established, a.link.get());
    a.receive_nothing(7);
    peer.kill();
    home.active.expect_event(connection_event_type::disconnected, a.link.get());
    a.completions->expect_failure(7, completion_status::flushed);
    a.expect_in_error();
}

constexpr conformance_case cases[] = {
    {"flush/moved_to_error", moved_to_error},
    {"flush/moved_to_error_twice", moved_to_error_twice},
    {"flush/posted_in_error", posted_in_error},
    {"flush/posted_in_error_without_connection", posted_in_error_without_connection},
    {"flush/disconnected_here", disconnected_here},
    {"flush/disconnected_there", disconnected_there},
    {"flush/disconnected_by_both", disconnected_by_both},
    {"flush/connection_destroyed", connection_destroyed},
    {"flush/queue_pair_destroyed", queue_pair_destroyed},
    {"flush/completions_outlive_the_queue_pair", completions_outlive_the_queue_pair},
    {"flush/successes_come_before_the_flush", successes_come_before_the_flush},
    {"flush/peer_killed", peer_killed},
    {"flush/idle_peer_killed", idle_peer_killed},
};

} // namespace

case_table flush_cases()
{
    return cases;
}

} // namespace penstock::conformance
