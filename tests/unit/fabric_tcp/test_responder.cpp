#include "fabric/tcp/responder.hpp"
#include "support/catch.hpp"

#include <cstring>

#include <sys/uio.h>

namespace penstock::fabric::tcp {

using verdict = responder::verdict;

namespace {

struct script {
    seeded_random_source random{3};
    key_table keys{random};
    alignas(8) std::array<std::byte, 256> memory{};
    std::uint32_t key = 0;
    receive_pool receives{4, 2};
    responder machine{{&keys, 1, 5}, &receives};

    script()
    {
        std::uint32_t index = 0;
        REQUIRE(keys.reserve(index));
        key = keys.fresh_key(index);
        keys.enliven(key,
            {key_kind::region, access::local_write | access::remote_write | access::remote_read | access::remote_atomic,
                1, 0, 0, address(0), memory.size()});
        machine.set_resources(2);
    }

    std::uint64_t address(std::size_t offset) const { return reinterpret_cast<std::uintptr_t>(memory.data() + offset); }

    frame_header frame(frame_type type, std::uint32_t message, std::uint32_t length, std::uint64_t total,
        std::uint64_t offset = 0) const
    {
        frame_header made;
        made.type = type;
        made.message = message;
        made.length = length;
        made.a = total;
        made.b = offset;
        if (type != frame_type::send) {
            made.address = address(0);
            made.key = key;
        }
        return made;
    }
    void receive(std::uint64_t id, std::uint32_t bytes)
    {
        const local_segment into{memory.data(), bytes, key};
        const receive_request request{id, {&into, 1}};
        REQUIRE(receives.post({&request, 1}).posted == 1);
    }
    /// Payload of the accepted frame, landed.
    bool land(std::uint32_t length)
    {
        iovec pieces[4];
        piece_list out{pieces, 0, 4};
        held_keys held;
        if (!machine.map(length, held, out))
            return false;
        for (std::size_t i = 0; i != out.count; ++i)
            std::memset(pieces[i].iov_base, 0x5a, pieces[i].iov_len);
        machine.landed(length);
        return true;
    }
    verdict whole(const frame_header& each, finished_receive& out)
    {
        const auto begun = machine.begin(each);
        if (begun != verdict::accept)
            return begun;
        if (each.length != 0 && !land(each.length))
            return verdict::refuse;
        return machine.end_frame(out);
    }
};

} // namespace

TEST_CASE("a send without a receive is refused, and everything until it comes again is dropped")
{
    script s;
    finished_receive done;
    CHECK(s.whole(s.frame(frame_type::send, 0, 8, 16), done) == verdict::not_ready);
    CHECK(s.whole(s.frame(frame_type::send, 0, 8, 16, 8), done) == verdict::drop);
    CHECK(s.whole(s.frame(frame_type::write, 1, 8, 8), done) == verdict::drop);
    CHECK(s.whole(s.frame(frame_type::read_request, 2, 0, 8), done) == verdict::drop);
    CHECK(s.machine.expected() == 0);
    CHECK(s.memory[0] == std::byte{});
    s.receive(9, 16);
    CHECK(s.whole(s.frame(frame_type::send, 0, 8, 16), done) == verdict::accept);
    CHECK(done.slot == receive_pool::none);
    CHECK(s.whole(s.frame(frame_type::send, 0, 8, 16, 8), done) == verdict::accept);
    REQUIRE(done.slot != receive_pool::none);
    CHECK(done.completion.id == 9);
    CHECK(done.completion.byte_count == 16);
    CHECK(s.machine.expected() == 1);
    CHECK(s.whole(s.frame(frame_type::send, 0, 8, 8), done) == verdict::violation);
}

TEST_CASE("an immediate without a receive is refused at its end and placed again")
{
    script s;
    finished_receive done;
    auto frame = s.frame(frame_type::write_with_immediate, 0, 8, 8);
    frame.value = 77;
    CHECK(s.whole(frame, done) == verdict::not_ready);
    s.receive(1, 0);
    CHECK(s.whole(frame, done) == verdict::accept);
    CHECK(done.completion.operation == completion_opcode::receive_write_immediate);
    CHECK(done.completion.has_immediate);
    CHECK(done.completion.immediate_data == 77);
    CHECK(done.completion.byte_count == 8);
}

TEST_CASE("a message longer than its receive ends both")
{
    script s;
    s.receive(4, 8);
    finished_receive done;
    CHECK(s.whole(s.frame(frame_type::send, 0, 9, 9), done) == verdict::refuse);
    CHECK(s.machine.refusal_kind() == refusal::invalid_request);
    REQUIRE(s.machine.take_claimed(done));
    CHECK(done.completion.status == completion_status::local_length_error);
    CHECK(done.completion.id == 4);
}

TEST_CASE("nothing lands of a write that would leave its region")
{
    script s;
    finished_receive done;
    CHECK(s.whole(s.frame(frame_type::write, 0, 8, s.memory.size() + 1), done) == verdict::refuse);
    CHECK(s.machine.refusal_kind() == refusal::remote_access);
    CHECK(s.memory[0] == std::byte{});
}

TEST_CASE("a key that dies between two pieces refuses the second")
{
    script s;
    CHECK(s.machine.begin(s.frame(frame_type::write, 0, 16, 16)) == verdict::accept);
    CHECK(s.land(8));
    REQUIRE_FALSE(s.keys.end_region(s.key));
    CHECK_FALSE(s.land(8));
    CHECK(s.machine.refusal_kind() == refusal::remote_access);
    CHECK(s.memory[7] == std::byte{0x5a});
    CHECK(s.memory[8] == std::byte{});
}

TEST_CASE("fragments must follow their first and each other")
{
    script s;
    finished_receive done;
    CHECK(s.whole(s.frame(frame_type::write, 0, 8, 24), done) == verdict::accept);
    SECTION("a gap")
    {
        CHECK(s.whole(s.frame(frame_type::write, 0, 8, 24, 16), done) == verdict::violation);
    }
    SECTION("again")
    {
        CHECK(s.whole(s.frame(frame_type::write, 0, 8, 24), done) == verdict::violation);
    }
    SECTION("of another message")
    {
        CHECK(s.whole(s.frame(frame_type::write, 1, 8, 8), done) == verdict::violation);
    }
    SECTION("of another length")
    {
        CHECK(s.whole(s.frame(frame_type::write, 0, 8, 25, 8), done) == verdict::violation);
    }
    SECTION("of another type")
    {
        CHECK(s.whole(s.frame(frame_type::send, 0, 8, 24, 8), done) == verdict::violation);
    }
    SECTION("elsewhere")
    {
        auto frame = s.frame(frame_type::write, 0, 8, 24, 8);
        ++frame.address;
        CHECK(s.whole(frame, done) == verdict::violation);
    }
}

TEST_CASE("more reads than agreed are a violation")
{
    script s;
    finished_receive done;
    CHECK(s.whole(s.frame(frame_type::read_request, 0, 0, 8), done) == verdict::accept);
    CHECK(s.whole(s.frame(frame_type::read_request, 1, 0, 8), done) == verdict::accept);
    CHECK(s.whole(s.frame(frame_type::read_request, 2, 0, 8), done) == verdict::violation);
}

TEST_CASE("a long read's response ends with an empty frame")
{
    script s;
    finished_receive done;
    std::vector<std::byte> large(40'000);
    std::uint32_t index = 0;
    REQUIRE(s.keys.reserve(index));
    const auto key = s.keys.fresh_key(index);
    s.keys.enliven(key,
        {key_kind::region, access::remote_read, 1, 0, 0, reinterpret_cast<std::uintptr_t>(large.data()), large.size()});
    auto request = s.frame(frame_type::read_request, 0, 0, large.size());
    request.address = reinterpret_cast<std::uintptr_t>(large.data());
    request.key = key;
    CHECK(s.whole(request, done) == verdict::accept);
    response_position at;
    frame_header frame;
    std::uint64_t response = 0;
    std::vector<std::uint32_t> lengths;
    while (s.machine.plan(at, 30'000, frame, response)) {
        lengths.push_back(frame.length);
        s.machine.start(at);
        s.machine.written(frame);
    }
    CHECK(lengths == std::vector<std::uint32_t>{30'000, 10'000, 0});
    CHECK(ends_response(frame));
}

TEST_CASE("atomics happen once, in order, and only where they may")
{
    script s;
    finished_receive done;
    auto add = s.frame(frame_type::atomic_request, 0, 0, 5);
    CHECK(s.whole(add, done) == verdict::accept);
    auto swap = s.frame(frame_type::atomic_request, 1, 0, 5);
    swap.flags = frame_flag::compare_swap;
    swap.b = 11;
    CHECK(s.whole(swap, done) == verdict::accept);
    std::uint64_t value = 0;
    std::memcpy(&value, s.memory.data(), sizeof value);
    CHECK(value == 11);
    response_position at;
    frame_header answer;
    std::uint64_t response = 0;
    REQUIRE(s.machine.plan(at, 1'000, answer, response));
    CHECK(answer.a == 0);
    REQUIRE(s.machine.plan(at, 1'000, answer, response));
    CHECK(answer.a == 5);
    s.machine.start(at);
    s.machine.written(answer);
    s.machine.written(answer);
    auto odd = s.frame(frame_type::atomic_request, 2, 0, 1);
    odd.address += 4;
    CHECK(s.whole(odd, done) == verdict::refuse);
    CHECK(s.machine.refusal_kind() == refusal::invalid_request);
}

} // namespace penstock::fabric::tcp
