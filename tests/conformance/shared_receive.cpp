// Receives that many queue pairs share.

#include "conformance/suite.hpp"

namespace penstock::conformance {

namespace {

/// Several connections whose passive ends share receives and a completion queue.
class group {
public:
    group(world& home, std::size_t count, std::uint32_t depth = 32)
        : buffer_(std::size_t{depth} * 256)
        , region_(take("register_memory", home.far.domain->register_memory(buffer_.bytes(), access::local_write)))
        , completions(home, *home.far.hardware, 512)
        , receives(take("create_shared_receive_queue", home.far.domain->create_shared_receive_queue({depth, 1})))
    {
        end_options options;
        options.shared = receives.get();
        options.completions = &completions;
        for (std::size_t i = 0; i != count; ++i)
            members.push_back(std::make_unique<linked>(home, end_options{}, options));
    }

    post_result try_receive(std::uint64_t id, std::size_t slot)
    {
        const local_segment piece{buffer_.at(slot * 256), 256, region_->lkey()};
        const receive_request request{id, {&piece, 1}};
        return receives->post_receive({&request, 1});
    }

    void receive(std::uint64_t id) { expect_success("post_receive", try_receive(id, id).error); }
    std::byte* slot(std::uint64_t id) const { return buffer_.at(id * 256); }

private:
    pages buffer_;
    std::unique_ptr<memory_region> region_;

public:
    queue completions;
    std::unique_ptr<shared_receive_queue> receives;
    std::vector<std::unique_ptr<linked>> members;
};

void go_to_whoever(world& home)
{
    group all(home, 4);
    for (std::uint64_t id = 0; id != 16; ++id)
        all.receive(id);
    for (std::uint64_t i = 0; i != 16; ++i) {
        auto& from = *all.members[(i * 7) % 4];
        store_u64(from.a.buffer.at(0), i);
        post(from.a, {send(i, {from.a.segment(0, 8)})});
        const auto told = all.completions.expect_success(i, completion_opcode::receive);
        expect_equal("queue pair", told.queue_pair_number, from.b.pair->number());
        expect_equal("message", load_u64(all.slot(i)), i);
        from.a.completions->expect_success(i, completion_opcode::send);
    }
}

void write_with_immediate_takes_one(world& home)
{
    group all(home, 2);
    all.receive(0);
    all.receive(1);
    post(all.members[1]->a, {write_with_immediate(1, {}, all.members[1]->b.remote(0), 4)});
    const auto told = all.completions.expect_success(0, completion_opcode::receive_write_immediate);
    expect_equal("queue pair", told.queue_pair_number, all.members[1]->b.pair->number());
    post(all.members[0]->a, {send(2, {})});
    all.completions.expect_success(1, completion_opcode::receive);
}

void others_go_on_after_an_error(world& home)
{
    group all(home, 3);
    for (std::uint64_t id = 0; id != 8; ++id)
        all.receive(id);
    auto& victim = *all.members[0];
    post(victim.a, {write(1, {victim.a.segment(0, 8)}, {1, 2})});
    victim.a.completions->expect_failure(1, completion_status::remote_access_error);
    victim.a.expect_in_error();
    victim.b.expect_in_error();
    home.run_for(5ms);
    expect(all.completions.told.empty(), "receives on a shared queue are not flushed");
    for (std::uint64_t i = 0; i != 8; ++i) {
        auto& from = *all.members[1 + i % 2];
        post(from.a, {send(i, {from.a.segment(0, 5)})});
        const auto told = all.completions.expect_success(i, completion_opcode::receive);
        expect_equal("queue pair", told.queue_pair_number, from.b.pair->number());
        from.a.completions->expect_success(i, completion_opcode::send);
    }
}

void others_go_on_after_one_is_destroyed(world& home)
{
    group all(home, 2);
    all.receive(0);
    all.members[0]->b.link.reset();
    all.members[0]->b.pair.reset();
    all.members[0]->a.expect_in_error();
    auto& other = *all.members[1];
    post(other.a, {send(1, {})});
    all.completions.expect_success(0, completion_opcode::receive);
    other.a.completions->expect_success(1, completion_opcode::send);
}

void exhausted_then_refilled(world& home)
{
    group all(home, 2);
    post(all.members[0]->a, {send(1, {})});
    home.run_for(20ms);
    expect(all.members[0]->a.completions->told.empty(), "a send without a receive does not complete");
    all.receive(3);
    all.completions.expect_success(3, completion_opcode::receive);
    all.members[0]->a.completions->expect_success(1, completion_opcode::send);
}

void many_wait_for_few(world& home)
{
    group all(home, 4);
    for (std::uint64_t i = 0; i != 4; ++i)
        post(all.members[i]->a, {send(i, {}), send(10 + i, {})});
    for (std::uint64_t i = 0; i != 8; ++i) {
        all.receive(i);
        all.completions.expect_success(i, completion_opcode::receive);
    }
    for (std::uint64_t i = 0; i != 4; ++i) {
        all.members[i]->a.completions->expect_success(i, completion_opcode::send);
        all.members[i]->a.completions->expect_success(10 + i, completion_opcode::send);
    }
}

void exhausted_fails_with_few_retries(world& home)
{
    group all(home, 0);
    end_options impatient;
    impatient.path.rnr_retry_count = 1;
    end_options sharing;
    sharing.shared = all.receives.get();
    sharing.completions = &all.completions;
    linked ends(home, impatient, sharing);
    post(ends.a, {send(1, {})});
    ends.a.completions->expect_failure(1, completion_status::receiver_not_ready_retry_exceeded);
    ends.a.expect_in_error();
}

void own_receives_are_refused(world& home)
{
    group all(home, 1);
    const receive_request request{1, {}};
    const auto refused = all.members[0]->b.pair->post_receive({&request, 1});
    expect_error("a receive on a pair that shares them", refused.error, errc::wrong_state);
    expect_equal("receives posted", refused.posted, 0U);
}

void full_and_too_many_segments(world& home)
{
    group all(home, 1, 16);
    std::size_t posted = 0;
    error_code error;
    while (!error && posted < 4096) {
        const auto done = all.try_receive(posted, 0);
        posted += done.posted;
        error = done.error;
    }
    expect_error("posting into a full queue", error, errc::receive_queue_full);
    expect(posted >= 16, "as many as asked for fit");
    auto& from = all.members[0]->a;
    post(from, {send(1, {})});
    all.completions.expect_success(0, completion_opcode::receive);
    const auto many = home.far.hardware->limits().segments_max + 1;
    const segments list(many, from.segment(0, 1));
    const receive_request request{1, list};
    expect_error(
        "a receive of too many segments", all.receives->post_receive({&request, 1}).error, errc::too_many_segments);
}

// A receive that fails takes its own queue pair with it and no other.
void too_short_for_one(world& home)
{
    group all(home, 2);
    for (std::uint64_t id = 0; id != 4; ++id)
        all.receive(id);
    auto& victim = *all.members[0];
    post(victim.a, {send(1, {victim.a.segment(0, 257)})});
    const auto failed = all.completions.next("the failed receive");
    expect_equal("id", failed.id, 0U);
    expect(failed.status != completion_status::success, "a message too long fails its receive");
    expect_equal("queue pair", failed.queue_pair_number, victim.b.pair->number());
    victim.a.completions->expect_failure(1,
        home.supports(capability::error_status_exact) ? completion_status::remote_invalid_request
                                                      : completion_status::remote_operation_error);
    victim.b.expect_in_error();
    auto& other = *all.members[1];
    post(other.a, {send(2, {other.a.segment(0, 256)})});
    all.completions.expect_success(1, completion_opcode::receive);
    other.a.completions->expect_success(2, completion_opcode::send);
}

constexpr conformance_case cases[] = {
    {"shared_receive/go_to_whoever", go_to_whoever},
    {"shared_receive/write_with_immediate_takes_one", write_with_immediate_takes_one},
    {"shared_receive/others_go_on_after_an_error", others_go_on_after_an_error},
    {"shared_receive/others_go_on_after_one_is_destroyed", others_go_on_after_one_is_destroyed},
    {"shared_receive/exhausted_then_refilled", exhausted_then_refilled},
    {"shared_receive/many_wait_for_few", many_wait_for_few},
    {"shared_receive/exhausted_fails_with_few_retries", exhausted_fails_with_few_retries},
    {"shared_receive/own_receives_are_refused", own_receives_are_refused},
    {"shared_receive/full_and_too_many_segments", full_and_too_many_segments},
    {"shared_receive/too_short_for_one", too_short_for_one},
};

} // namespace

case_table shared_receive_cases()
{
    return cases;
}

} // namespace penstock::conformance
