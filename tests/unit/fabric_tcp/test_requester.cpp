#include "fabric/tcp/requester.hpp"
#include "support/catch.hpp"

#include <sys/uio.h>

namespace penstock::fabric::tcp {

namespace {

/// A requester with one region, driven by hand.
struct script {
    seeded_random_source random{3};
    key_table keys{random};
    std::vector<std::byte> memory = std::vector<std::byte>(4'096);
    std::uint32_t lkey = 0;
    key_context context{&keys, 1, 5};
    requester machine{context, {8, 4, 32, 1'000}};
    std::uint64_t last_entry = 0;

    script()
    {
        std::uint32_t index = 0;
        REQUIRE(keys.reserve(index));
        lkey = keys.fresh_key(index);
        keys.enliven(lkey,
            {key_kind::region, access::local_write | access::window_bind, 1, 0, 0,
                reinterpret_cast<std::uintptr_t>(memory.data()), memory.size()});
        machine.set_reads_max(2);
    }

    void post(opcode operation, std::uint32_t bytes, std::uint64_t id = 0, bool fence = false)
    {
        const local_segment segment{memory.data(), bytes, lkey};
        send_request request;
        request.id = id;
        request.operation = operation;
        request.fence = fence;
        request.local = {&segment, bytes == 0 ? 0U : 1U};
        REQUIRE_FALSE(machine.check(request));
        machine.append(request);
    }

    /// Plans the next frame; started and written when `whole`.
    bool next(frame_header& frame, bool whole = true)
    {
        auto at = machine.position();
        const auto generation = machine.generation();
        if (!machine.plan(at, frame, last_entry))
            return false;
        machine.start(at);
        if (whole)
            machine.written(frame, last_entry, generation);
        return true;
    }
    frame_header expect_frame(frame_type type, std::uint32_t message)
    {
        frame_header frame;
        REQUIRE(next(frame));
        CHECK(frame.type == type);
        CHECK(frame.message == message);
        return frame;
    }
    void expect_nothing()
    {
        frame_header frame;
        CHECK_FALSE(next(frame));
    }
    void expect_retired(std::uint64_t id, completion_status status = completion_status::success)
    {
        const auto* entry = machine.retire();
        REQUIRE(entry);
        CHECK(entry->id == id);
        CHECK(entry->failure == status);
    }
    void respond_to_read(std::uint32_t message, std::uint32_t bytes)
    {
        frame_header frame;
        frame.type = frame_type::read_response;
        frame.message = message;
        frame.length = bytes;
        frame.a = bytes;
        REQUIRE(machine.begin_response(frame) == requester::response::fine);
        machine.response_landed(bytes);
        machine.end_response_frame(true);
    }
};

} // namespace

TEST_CASE("a message is cut into fragments and completes on the acknowledgement only")
{
    script s;
    s.post(opcode::write, 2'500, 1);
    auto frame = s.expect_frame(frame_type::write, 0);
    CHECK(frame.length == 1'000);
    CHECK(frame.a == 2'500);
    CHECK(s.machine.acknowledge(1) == requester::response::violation); // not even sent whole
    frame = s.expect_frame(frame_type::write, 0);
    CHECK(frame.b == 1'000);
    frame = s.expect_frame(frame_type::write, 0);
    CHECK(frame.b == 2'000);
    CHECK(frame.length == 500);
    CHECK_FALSE(s.machine.retire());
    CHECK(s.machine.acknowledge(1) == requester::response::fine);
    s.expect_retired(1);
    CHECK(s.machine.acknowledge(0) == requester::response::violation); // backwards
    CHECK(s.machine.acknowledge(2) == requester::response::violation); // what was never sent
}

TEST_CASE("completions come in order, whatever is acknowledged first")
{
    script s;
    s.post(opcode::read, 100, 1);
    s.post(opcode::send, 10, 2);
    s.expect_frame(frame_type::read_request, 0);
    s.expect_frame(frame_type::send, 1);
    CHECK(s.machine.acknowledge(2) == requester::response::fine);
    CHECK_FALSE(s.machine.retire()); // the read is not answered
    s.respond_to_read(0, 100);
    s.expect_retired(1);
    s.expect_retired(2);
}

TEST_CASE("reads wait for room, fenced requests for reads")
{
    script s;
    s.post(opcode::read, 1, 1);
    s.post(opcode::read, 2, 2);
    s.post(opcode::read, 3, 3);
    s.expect_frame(frame_type::read_request, 0);
    s.expect_frame(frame_type::read_request, 1);
    s.expect_nothing();
    s.respond_to_read(0, 1);
    s.expect_frame(frame_type::read_request, 2);
    s.post(opcode::send, 1, 4, true);
    s.expect_nothing();
    s.respond_to_read(1, 2);
    s.expect_nothing();
    s.respond_to_read(2, 3);
    s.expect_frame(frame_type::send, 3);
}

TEST_CASE("a refusal for want of a receive goes back to that message")
{
    script s;
    s.machine.set_rnr_retry_count(1);
    s.post(opcode::write, 1, 1);
    s.post(opcode::read, 1, 2);
    s.post(opcode::send, 1, 3);
    s.post(opcode::read, 1, 4);
    for (std::uint32_t i = 0; i != 4; ++i) {
        frame_header frame;
        REQUIRE(s.next(frame));
    }
    CHECK(s.machine.refuse(2, refusal::receiver_not_ready) == requester::refused::wait);
    s.expect_retired(1); // everything before is acknowledged by it
    s.expect_nothing();  // waiting
    s.machine.end_rnr_wait();
    s.expect_frame(frame_type::send, 2);
    s.expect_frame(frame_type::read_request, 3); // counted as outstanding once, not twice
    s.respond_to_read(1, 1);
    s.expect_retired(2);
    CHECK(s.machine.refuse(2, refusal::receiver_not_ready) == requester::refused::failed);
    s.expect_retired(3, completion_status::receiver_not_ready_retry_exceeded);
}

TEST_CASE("a frame that was under way during a rewind says nothing about the new one")
{
    script s;
    s.post(opcode::send, 2'000, 1);
    const auto generation = s.machine.generation();
    frame_header first;
    REQUIRE(s.next(first)); // the first fragment is refused while the second is half written
    frame_header second;
    REQUIRE(s.next(second, false));
    CHECK(s.machine.refuse(0, refusal::receiver_not_ready) == requester::refused::wait);
    s.machine.written(second, s.last_entry, generation);
    CHECK(s.machine.acknowledge(1) == requester::response::violation);
    s.machine.end_rnr_wait();
    CHECK(s.expect_frame(frame_type::send, 0).b == 0);
    CHECK(s.expect_frame(frame_type::send, 0).b == 1'000);
    CHECK(s.machine.acknowledge(1) == requester::response::fine);
    s.expect_retired(1);
}

TEST_CASE("a read is refused though it is acknowledged")
{
    script s;
    s.post(opcode::read, 10, 1);
    s.expect_frame(frame_type::read_request, 0);
    CHECK(s.machine.acknowledge(1) == requester::response::fine);
    CHECK(s.machine.refuse(0, refusal::receiver_not_ready) == requester::refused::violation);
    CHECK(s.machine.refuse(0, refusal::remote_access) == requester::refused::failed);
    s.expect_retired(1, completion_status::remote_access_error);
}

TEST_CASE("refusals of what was not sent or is done are violations")
{
    script s;
    CHECK(s.machine.refuse(0, refusal::remote_access) == requester::refused::violation);
    s.post(opcode::send, 1, 1);
    CHECK(s.machine.refuse(0, refusal::remote_access) == requester::refused::violation);
    s.expect_frame(frame_type::send, 0);
    CHECK(s.machine.refuse(1, refusal::remote_access) == requester::refused::violation);
    CHECK(s.machine.acknowledge(1) == requester::response::fine);
    CHECK(s.machine.refuse(0, refusal::remote_access) == requester::refused::violation);
    CHECK(s.machine.refuse(0xffffffff, refusal::remote_access) == requester::refused::violation);
}

TEST_CASE("responses to nothing, of another kind or size are violations")
{
    script s;
    frame_header frame;
    frame.type = frame_type::read_response;
    frame.a = frame.length = 10;
    CHECK(s.machine.begin_response(frame) == requester::response::violation);
    s.post(opcode::read, 10, 1);
    CHECK(s.machine.begin_response(frame) == requester::response::violation); // not asked yet
    s.expect_frame(frame_type::read_request, 0);
    CHECK(s.machine.begin_response(frame) == requester::response::fine);
    auto wrong = frame;
    wrong.a = 11;
    CHECK(s.machine.begin_response(wrong) == requester::response::violation);
    wrong = frame;
    wrong.b = 5;
    CHECK(s.machine.begin_response(wrong) == requester::response::violation);
    wrong = frame;
    wrong.message = 1;
    CHECK(s.machine.begin_response(wrong) == requester::response::violation);
    wrong = frame;
    wrong.type = frame_type::atomic_response;
    CHECK(s.machine.begin_response(wrong) == requester::response::violation);
}

TEST_CASE("a response finds its read when the ring has gone round since the last one")
{
    script s;
    s.post(opcode::read, 1, 1);
    s.expect_frame(frame_type::read_request, 0);
    s.respond_to_read(0, 1);
    s.expect_retired(1);
    s.machine.release(1);
    std::uint32_t message = 1;
    for (int i = 0; i != 7; ++i, ++message) {
        s.post(opcode::write, 1, 2);
        s.expect_frame(frame_type::write, message);
        CHECK(s.machine.acknowledge(message + 1) == requester::response::fine);
        s.expect_retired(2);
        s.machine.release(1);
    }
    // The second read is in the slot that the search for the first one's answer would start at.
    s.post(opcode::read, 1, 3);
    s.post(opcode::read, 1, 4);
    s.expect_frame(frame_type::read_request, message);
    s.expect_frame(frame_type::read_request, message + 1);
    s.respond_to_read(message, 1);
    s.expect_retired(3);
    s.respond_to_read(message + 1, 1);
    s.expect_retired(4);
}

TEST_CASE("a key that dies makes its request fail in its turn")
{
    script s;
    s.post(opcode::send, 10, 1);
    s.post(opcode::send, 10, 2);
    s.expect_frame(frame_type::send, 0);
    REQUIRE_FALSE(s.keys.end_region(s.lkey));
    frame_header frame;
    auto at = s.machine.position();
    std::uint64_t entry = 0;
    REQUIRE(s.machine.plan(at, frame, entry));
    iovec pieces[4];
    piece_list out{pieces, 0, 4};
    held_keys held;
    CHECK_FALSE(s.machine.gather(frame, entry, 0, held, out));
    s.machine.fail(entry, completion_status::local_protection_error);
    CHECK_FALSE(s.machine.retire());
    s.expect_nothing();
    CHECK(s.machine.acknowledge(1) == requester::response::fine);
    s.expect_retired(1);
    s.expect_retired(2, completion_status::local_protection_error);
}

TEST_CASE("slots are taken until their completions are")
{
    script s;
    for (int i = 0; i != 8; ++i)
        s.post(opcode::send, 0);
    send_request one_more;
    CHECK(s.machine.check(one_more) == errc::send_queue_full);
    s.machine.release(1);
    CHECK_FALSE(s.machine.check(one_more));
}

TEST_CASE("a response to what a refusal has taken back is a violation, not a search without an end")
{
    script s;
    s.post(opcode::send, 10, 1);
    s.post(opcode::read, 10, 2);
    (void)s.expect_frame(frame_type::send, 0);
    (void)s.expect_frame(frame_type::read_request, 1);
    s.respond_to_read(1, 10); // although the message before it has not been acknowledged
    REQUIRE(s.machine.refuse(0, refusal::receiver_not_ready) == requester::refused::wait);
    frame_header again;
    again.type = frame_type::read_response;
    again.message = 1;
    again.length = 10;
    again.a = 10;
    CHECK(s.machine.begin_response(again) == requester::response::violation);
}

} // namespace penstock::fabric::tcp
