// Completion queues: polling, sleeping without losing a completion, sharing, running out of room.

#include "conformance/suite.hpp"

#include <array>

#include <poll.h>

namespace penstock::conformance {

namespace {

bool readable(int descriptor, int wait_ms)
{
    pollfd entry{descriptor, POLLIN, 0};
    return ::poll(&entry, 1, wait_ms) == 1;
}

/// Waits for the queue's descriptor while everything else is polled.
void expect_wakes(world& home, queue& sleeper, const where& place = where::current())
{
    home.run_until(
        "the completion queue's descriptor is readable", [&] { return readable(sleeper.handle->descriptor(), 0); },
        patience, place);
}

/// As a sleeping program does it: arm, poll until empty, wait, acknowledge, again.
work_completion sleep_for_completion(world& home, queue& sleeper)
{
    std::array<work_completion, 1> one;
    const auto deadline = std::chrono::steady_clock::now() + patience;
    for (;;) {
        expect_success("arm", sleeper.handle->arm());
        if (sleeper.handle->poll(one) == 1)
            return one[0];
        expect_wakes(home, sleeper);
        sleeper.handle->acknowledge();
        if (sleeper.handle->poll(one) == 1)
            return one[0];
        expect(std::chrono::steady_clock::now() < deadline, "a completion within 10 s");
    }
}

// Both sides sleep between messages. A lost wake-up ends in a deadline.
void sleeping_ping_pong(linked& ends)
{
    auto& [a, b] = ends;
    a.completions->paused = true;
    b.completions->paused = true;
    for (std::uint64_t round = 0; round != 300; ++round) {
        auto& from = round % 2 == 0 ? a : b;
        auto& to = round % 2 == 0 ? b : a;
        to.receive_nothing(1000 + round);
        // Without passive progress the sleeping side is woken for the other's sake too; it must be let run.
        auto said = send(round, {});
        said.request.signaled = round % 16 >= 14; // frees the slots of those before it
        post(from, {said});
        from.completions->paused = false;
        auto told = sleep_for_completion(a.home, *to.completions);
        while (told.operation == completion_opcode::send)
            told = sleep_for_completion(a.home, *to.completions);
        from.completions->paused = true;
        expect_equal("status", told.status, completion_status::success);
        expect_equal("opcode", told.operation, completion_opcode::receive);
        expect_equal("id", told.id, 1000 + round);
    }
}

void completion_after_arming_wakes(linked& ends)
{
    auto& [a, b] = ends;
    b.receive_nothing(7);
    expect_success("arm", b.completions->handle->arm());
    b.completions->paused = true;
    post(a, {send(1, {})});
    expect_wakes(a.home, *b.completions);
    b.completions->handle->acknowledge();
    b.completions->paused = false;
    b.completions->expect_success(7, completion_opcode::receive);
    a.completions->expect_success(1, completion_opcode::send);
}

// Arm, then poll before sleeping: what came before the arming may be silent, but it is there.
void completion_before_arming_is_polled(linked& ends)
{
    auto& [a, b] = ends;
    for (std::uint64_t round = 0; round != 50; ++round) {
        b.receive_nothing(7);
        a.completions->paused = a.home.supports(capability::passive_target_progress);
        post(a, {send(round, {})});
        b.completions->expect_success(7, completion_opcode::receive);
        a.completions->paused = true;
        expect_success("arm", a.completions->handle->arm());
        std::array<work_completion, 1> one;
        if (a.completions->told.empty()) {
            // It may be on its way still: then it wakes.
            if (a.completions->handle->poll(one) == 0)
                one[0] = sleep_for_completion(a.home, *a.completions);
        } else {
            one[0] = a.completions->told.front();
            a.completions->told.pop_front();
        }
        expect_equal("id", one[0].id, round);
        expect_equal("status", one[0].status, completion_status::success);
    }
}

void armed_twice_wakes(linked& ends)
{
    auto& [a, b] = ends;
    b.receive_nothing(7);
    expect_success("arm", b.completions->handle->arm());
    expect_success("arm again", b.completions->handle->arm());
    b.completions->paused = true;
    post(a, {send(1, {})});
    expect_wakes(a.home, *b.completions);
    b.completions->handle->acknowledge();
    b.completions->paused = false;
    b.completions->expect_success(7, completion_opcode::receive);
}

// A quiet queue must not keep its owner awake: after an acknowledge with nothing new, the descriptor is quiet.
void quiet_after_acknowledge(linked& ends)
{
    auto& [a, b] = ends;
    b.receive_nothing(7);
    expect_success("arm", b.completions->handle->arm());
    b.completions->paused = true;
    post(a, {send(1, {})});
    expect_wakes(a.home, *b.completions);
    b.completions->handle->acknowledge();
    b.completions->paused = false;
    b.completions->expect_success(7, completion_opcode::receive);
    a.completions->expect_success(1, completion_opcode::send);
    a.home.run_for(5ms);
    expect_success("arm", b.completions->handle->arm());
    a.home.turn();
    a.home.run_until("the idle queue's descriptor is quiet",
        [&ends] { return !readable(ends.b.completions->handle->descriptor(), 0); });
}

void solicited_only(linked& ends)
{
    auto& [a, b] = ends;
    const bool exact = a.home.supports(capability::passive_target_progress);
    for (std::uint64_t id = 0; id != 4; ++id)
        b.receive_nothing(id);
    expect_success("arm for solicited completions", b.completions->handle->arm(true));
    b.completions->paused = exact;
    post(a, {send(1, {}), write_with_immediate(2, {}, b.remote(0), 1)});
    a.completions->expect_success(1, completion_opcode::send);
    a.completions->expect_success(2, completion_opcode::write);
    // A side that must be polled for progress may be woken for that, so there is nothing to assert about it.
    if (exact)
        expect(!readable(b.completions->handle->descriptor(), 20), "unsolicited messages do not wake");
    b.completions->paused = true;
    post(a, {send(3, {}).solicited()});
    expect_wakes(a.home, *b.completions);
    b.completions->handle->acknowledge();
    b.completions->paused = false;
    b.completions->expect_success(0, completion_opcode::receive);
    b.completions->expect_success(1, completion_opcode::receive_write_immediate);
    b.completions->expect_success(2, completion_opcode::receive);
    expect_success("arm for solicited completions", b.completions->handle->arm(true));
    b.completions->paused = true;
    post(a, {write_with_immediate(4, {}, b.remote(0), 1).solicited()});
    expect_wakes(a.home, *b.completions);
    b.completions->handle->acknowledge();
    b.completions->paused = false;
    b.completions->expect_success(3, completion_opcode::receive_write_immediate);
}

// Programs that wait for solicited completions must hear of failures too.
void solicited_only_wakes_on_error(linked& ends)
{
    auto& [a, b] = ends;
    b.receive_nothing(7);
    expect_success("arm for solicited completions", b.completions->handle->arm(true));
    b.completions->paused = true;
    expect_success("move_to_error", b.pair->move_to_error());
    expect_wakes(a.home, *b.completions);
    b.completions->handle->acknowledge();
    b.completions->paused = false;
    b.completions->expect_failure(7, completion_status::flushed);
}

void polled_in_small_pieces(linked& ends)
{
    auto& [a, b] = ends;
    for (std::uint64_t i = 0; i != 20; ++i)
        b.receive_nothing(i);
    std::vector<work> list;
    for (std::uint64_t i = 0; i != 20; ++i)
        list.push_back(send(i, {}));
    b.completions->paused = true;
    post(a, std::move(list));
    std::array<work_completion, 3> few;
    expect_equal("completions that fit nowhere", b.completions->handle->poll({}), 0U);
    std::uint64_t next = 0;
    a.home.run_until("20 completions in pieces of at most 3", [&] {
        const auto count = ends.b.completions->handle->poll(few);
        for (std::size_t i = 0; i != count; ++i)
            expect_equal("id", few.at(i).id, next++);
        return next == 20;
    });
}

void many_queue_pairs_on_one(world& home)
{
    queue shared(home, *home.far.hardware, 512);
    end_options options;
    options.receive_depth = 16;
    options.send_depth = 16;
    options.completions = &shared;
    std::vector<std::unique_ptr<linked>> all;
    for (int i = 0; i != 8; ++i)
        all.push_back(std::make_unique<linked>(home, end_options{}, options));
    for (std::uint64_t i = 0; i != 8; ++i) {
        all[i]->b.receive_nothing(i);
        post(all[i]->a, {send(i, {})});
    }
    std::vector<int> seen(8);
    for (int i = 0; i != 8; ++i) {
        const auto told = shared.next("a receive");
        expect_equal("status", told.status, completion_status::success);
        expect_equal("queue pair", told.queue_pair_number, all.at(told.id)->b.pair->number());
        expect_equal("times seen before", seen.at(told.id)++, 0);
    }
    for (std::size_t i = 0; i != 8; ++i)
        for (std::size_t j = 0; j != i; ++j)
            expect(all[i]->b.pair->number() != all[j]->b.pair->number(), "queue pairs have different numbers");
}

void separate_send_and_receive_queues(world& home)
{
    queue sends(home, *home.far.hardware, 128);
    queue receives(home, *home.far.hardware, 128);
    end a(home, home.near);
    end b(home, home.far);
    queue_pair_options options;
    options.send_completions = sends.handle.get();
    options.receive_completions = receives.handle.get();
    options.send_depth = 32;
    options.receive_depth = 32;
    b.pair = take("create_queue_pair", home.far.domain->create_queue_pair(options));
    connect(home, a, b);
    a.receive_nothing(1);
    b.receive_nothing(2);
    post(a, {send(3, {})});
    post(b, {send(4, {})});
    receives.expect_success(2, completion_opcode::receive);
    sends.expect_success(4, completion_opcode::send);
    b.receive_nothing(5);
    expect_success("move_to_error", b.pair->move_to_error());
    receives.expect_failure(5, completion_status::flushed);
    expect_equal("completions left", sends.told.size() + receives.told.size(), 0U);
    b.link.reset();
    b.pair.reset();
}

// Room is what is left after the depths of its queue pairs: an overrun cannot be provoked.
void no_room_for_another_queue_pair(world& home)
{
    queue small(home, *home.near.hardware, 64);
    queue_pair_options options;
    options.send_completions = small.handle.get();
    options.receive_completions = small.handle.get();
    options.send_depth = 16;
    options.receive_depth = 16;
    std::vector<std::unique_ptr<queue_pair>> pairs;
    error_code error;
    while (!error && pairs.size() < 4096) {
        auto made = home.near.domain->create_queue_pair(options);
        if (made)
            pairs.push_back(std::move(*made));
        else
            error = made.error();
    }
    expect_error("creating a queue pair without room", error, errc::completion_queue_full);
    expect(pairs.size() >= 2, "as many as asked for find room");
    expect(pairs.size() * 32 <= small.handle->depth(), "no more than there is room for");
    pairs.pop_back();
    pairs.push_back(take("create_queue_pair after one is gone", home.near.domain->create_queue_pair(options)));
}

constexpr conformance_case cases[] = {
    {"completion_queue/sleeping_ping_pong", sleeping_ping_pong},
    {"completion_queue/completion_after_arming_wakes", completion_after_arming_wakes},
    {"completion_queue/completion_before_arming_is_polled", completion_before_arming_is_polled},
    {"completion_queue/armed_twice_wakes", armed_twice_wakes},
    {"completion_queue/quiet_after_acknowledge", quiet_after_acknowledge},
    {"completion_queue/solicited_only", solicited_only},
    {"completion_queue/solicited_only_wakes_on_error", solicited_only_wakes_on_error},
    {"completion_queue/polled_in_small_pieces", polled_in_small_pieces},
    {"completion_queue/many_queue_pairs_on_one", many_queue_pairs_on_one},
    {"completion_queue/separate_send_and_receive_queues", separate_send_and_receive_queues},
    {"completion_queue/no_room_for_another_queue_pair", no_room_for_another_queue_pair},
};

} // namespace

case_table completion_queue_cases()
{
    return cases;
}

} // namespace penstock::conformance
