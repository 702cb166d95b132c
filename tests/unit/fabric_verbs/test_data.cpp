#include "fixture.hpp"

#include <poll.h>

#include <algorithm>
#include <cstring>

using namespace penstock;
using namespace penstock::fabric;
using namespace penstock::fabric::test;

namespace {

std::uint64_t address_of(const std::byte& first)
{
    return reinterpret_cast<std::uintptr_t>(&first);
}

send_request make(std::uint64_t id, opcode operation, std::span<const local_segment> local)
{
    send_request request;
    request.id = id;
    request.operation = operation;
    request.local = local;
    return request;
}

void fill(std::vector<std::byte>& memory, unsigned seed)
{
    for (std::size_t i = 0; i < memory.size(); ++i)
        memory[i] = static_cast<std::byte>(seed + i * 7 + i / 251);
}

} // namespace

TEST_CASE_METHOD(connected_fixture, "a send arrives in the posted receive", "[verbs][softroce]")
{
    fill(near_memory, 3);
    const local_segment into[] = {far_bytes(100, 8'192)};
    REQUIRE_FALSE(far->post_receive(std::array{receive_request{7, into}}).error);
    const local_segment from[] = {near_bytes(0, 10), near_bytes(10, 0), near_bytes(10, 4'990)};
    auto request = make(1, opcode::send_with_immediate, from);
    request.immediate_data = 0x1234'5678;
    REQUIRE(near->post_send(std::array{request}).posted == 1);
    auto first = next();
    auto second = next();
    if (first.id == 1)
        std::swap(first, second);
    REQUIRE(first.id == 7);
    REQUIRE(first.status == completion_status::success);
    REQUIRE(first.operation == completion_opcode::receive);
    REQUIRE(first.byte_count == 5'000);
    REQUIRE(first.has_immediate);
    REQUIRE(first.immediate_data == 0x1234'5678);
    REQUIRE(first.queue_pair_number == far->number());
    REQUIRE(second.status == completion_status::success);
    REQUIRE(second.operation == completion_opcode::send);
    REQUIRE(second.queue_pair_number == near->number());
    REQUIRE(std::memcmp(far_memory.data() + 100, near_memory.data(), 5'000) == 0);
}

TEST_CASE_METHOD(connected_fixture, "write, write with immediate and read", "[verbs][softroce]")
{
    fill(near_memory, 11);
    const local_segment from[] = {near_bytes(0, 30'000)};
    auto write = make(1, opcode::write, from);
    write.remote = {address_of(far_memory[1'000]), far_region->rkey()};
    write.signaled = false;
    auto announce = make(2, opcode::write_with_immediate, {});
    announce.remote = write.remote;
    announce.immediate_data = 99;
    REQUIRE_FALSE(far->post_receive(std::array{receive_request{8, {}}}).error);
    REQUIRE_FALSE(near->post_send(std::array{write, announce}).error);
    auto first = next();
    auto second = next();
    if (first.id == 2)
        std::swap(first, second);
    REQUIRE(first.id == 8);
    REQUIRE(first.operation == completion_opcode::receive_write_immediate);
    REQUIRE(first.immediate_data == 99);
    REQUIRE(second.id == 2);
    REQUIRE(second.operation == completion_opcode::write);
    REQUIRE(std::memcmp(far_memory.data() + 1'000, near_memory.data(), 30'000) == 0);

    const local_segment back[] = {near_bytes(40'000, 20'000)};
    auto read = make(3, opcode::read, back);
    read.remote = write.remote;
    REQUIRE_FALSE(near->post_send(std::array{read}).error);
    REQUIRE(expect_success(3, completion_opcode::read).byte_count == 20'000);
    REQUIRE(std::memcmp(near_memory.data() + 40'000, near_memory.data(), 20'000) == 0);
    expect_no_completion();
}

TEST_CASE_METHOD(connected_fixture, "inline bytes may be reused at once", "[verbs][softroce]")
{
    std::array<std::byte, 16> bytes{};
    bytes.fill(std::byte{0x5a});
    const local_segment from[] = {{bytes.data(), 16, 0}};
    auto write = make(1, opcode::write, from);
    write.inline_data = true;
    write.remote = {address_of(far_memory[0]), far_region->rkey()};
    REQUIRE(near->inline_bytes_max() >= 64);
    REQUIRE_FALSE(near->post_send(std::array{write}).error);
    bytes.fill(std::byte{0});
    expect_success(1, completion_opcode::write);
    REQUIRE(std::all_of(far_memory.begin(), far_memory.begin() + 16, [](std::byte b) { return b == std::byte{0x5a}; }));
}

TEST_CASE_METHOD(connected_fixture, "atomics return the old value", "[verbs][softroce]")
{
    REQUIRE(hardware->supports().has(capability::atomics));
    std::uint64_t value = 40;
    std::memcpy(far_memory.data(), &value, 8);
    const local_segment old[] = {near_bytes(0, 8)};
    auto add = make(1, opcode::fetch_add, old);
    add.remote = {address_of(far_memory[0]), far_region->rkey()};
    add.compare_add = 2;
    REQUIRE_FALSE(near->post_send(std::array{add}).error);
    REQUIRE(expect_success(1, completion_opcode::fetch_add).byte_count == 8);
    std::memcpy(&value, near_memory.data(), 8);
    REQUIRE(value == 40);
    auto swap = make(2, opcode::compare_swap, old);
    swap.remote = add.remote;
    swap.compare_add = 42;
    swap.swap = 7;
    REQUIRE_FALSE(near->post_send(std::array{swap}).error);
    expect_success(2, completion_opcode::compare_swap);
    std::memcpy(&value, near_memory.data(), 8);
    REQUIRE(value == 42);
    std::memcpy(&value, far_memory.data(), 8);
    REQUIRE(value == 7);
}

TEST_CASE_METHOD(connected_fixture, "the send queue holds the depth asked for and no more", "[verbs][softroce]")
{
    const local_segment from[] = {near_bytes(0, 8)};
    std::vector<send_request> requests;
    for (std::uint64_t i = 0; i < depth + 5; ++i) {
        requests.push_back(make(i, opcode::write, from));
        requests.back().remote = {address_of(far_memory[0]), far_region->rkey()};
        requests.back().signaled = i % 4 == 3;
    }
    auto posted = near->post_send(requests);
    REQUIRE(posted.posted == depth);
    REQUIRE(posted.error == errc::send_queue_full);
    // One completion frees its run of four.
    expect_success(3, completion_opcode::write);
    std::size_t again = near->post_send(requests).posted;
    REQUIRE(again % 4 == 0);
    REQUIRE(again >= 4);
    for (std::size_t i = 1; i < (depth + again) / 4; ++i)
        REQUIRE(next().status == completion_status::success);
    expect_no_completion();
    REQUIRE(near->post_send(requests).posted == depth);
    for (std::size_t i = 0; i < depth / 4; ++i)
        REQUIRE(next().status == completion_status::success);
}

TEST_CASE_METHOD(connected_fixture, "the receive queue holds the depth asked for and no more", "[verbs][softroce]")
{
    const std::vector<receive_request> receives(depth + 3);
    const auto posted = far->post_receive(receives);
    REQUIRE(posted.posted == depth);
    REQUIRE(posted.error == errc::receive_queue_full);
}

TEST_CASE_METHOD(connected_fixture, "requests that cannot be right are refused", "[verbs][softroce]")
{
    const local_segment eight[] = {near_bytes(0, 8)};
    const local_segment four[] = {near_bytes(0, 4)};
    const std::vector<local_segment> many(5, near_bytes(0, 8));
    const local_segment huge[] = {{near_memory.data(), 0xffff'ffff, near_region->lkey()}};
    const local_segment wide[] = {near_bytes(0, near->inline_bytes_max() + 1)};
    const auto good = make(1, opcode::write, eight);
    const auto refusal = [&](send_request bad) {
        const auto result = near->post_send(std::array{bad});
        CHECK(result.posted == 0);
        return result.error;
    };
    CHECK(refusal(make(2, opcode::send, many)) == errc::too_many_segments);
    CHECK(refusal(make(2, opcode::send, huge)) == errc::message_too_long);
    CHECK(refusal(make(2, opcode::fetch_add, four)) == errc::invalid_argument);
    CHECK(refusal(make(2, opcode::bind_window, {})) == errc::invalid_argument);
    auto inlined = make(2, opcode::send, wide);
    inlined.inline_data = true;
    CHECK(refusal(inlined) == errc::inline_too_long);
    CHECK_FALSE(make_pair()->post_send(std::array{good}).posted != 0);
    CHECK(make_pair()->post_send(std::array{good}).error == errc::wrong_state);
}

TEST_CASE_METHOD(connected_fixture, "in ERROR everything is flushed, what is posted later too", "[verbs][softroce]")
{
    const local_segment into[] = {near_bytes(0, 8)};
    const std::vector<receive_request> receives(depth, receive_request{100, into});
    REQUIRE_FALSE(near->post_receive(receives).error);
    REQUIRE_FALSE(near->move_to_error());
    REQUIRE(near->state() == queue_pair_state::error);
    for (std::uint32_t i = 0; i < depth; ++i)
        expect_status(100, completion_status::flushed);
    for (int round = 0; round < 20; ++round) {
        std::vector<send_request> sends;
        for (std::uint64_t i = 0; i < depth; ++i) {
            sends.push_back(make(i, opcode::send, into));
            sends.back().signaled = i % 2 == 0;
        }
        INFO("round " << round);
        const auto posted = near->post_send(sends);
        REQUIRE_FALSE(posted.error);
        for (std::uint64_t i = 0; i < depth; ++i) {
            INFO("send " << i);
            expect_status(i, completion_status::flushed);
        }
        REQUIRE_FALSE(near->post_receive(std::span(receives).first(4)).error);
        for (int i = 0; i < 4; ++i) {
            INFO("receive " << i);
            expect_status(100, completion_status::flushed);
        }
    }
    expect_no_completion();
}

TEST_CASE_METHOD(connected_fixture, "a wrong key puts both sides into ERROR", "[verbs][softroce]")
{
    const local_segment from[] = {near_bytes(0, 8)};
    auto write = make(1, opcode::write, from);
    write.remote = {address_of(far_memory[0]), far_region->rkey() ^ 0x5500U};
    REQUIRE_FALSE(near->post_send(std::array{write}).error);
    expect_status(1, completion_status::remote_access_error);
    REQUIRE(near->state() == queue_pair_state::error);
    wait_for(
        "ERROR at the target", [&] { return far->state() == queue_pair_state::error; }, [&] { turn(); });
}

TEST_CASE_METHOD(connected_fixture, "a completion wakes the armed descriptor", "[verbs][softroce]")
{
    REQUIRE_FALSE(completions->arm());
    const local_segment from[] = {near_bytes(0, 8)};
    auto write = make(1, opcode::write, from);
    write.remote = {address_of(far_memory[0]), far_region->rkey()};
    REQUIRE_FALSE(near->post_send(std::array{write}).error);
    pollfd waiting{completions->descriptor(), POLLIN, 0};
    REQUIRE(::poll(&waiting, 1, 10'000) == 1);
    completions->acknowledge();
    waiting.revents = 0;
    REQUIRE(::poll(&waiting, 1, 0) == 0);
    expect_success(1, completion_opcode::write);
}

TEST_CASE_METHOD(connected_fixture, "a shared receive queue serves several queue pairs", "[verbs][softroce]")
{
    auto shared = domain->create_shared_receive_queue({64, 1}).value();
    auto changed = options();
    changed.shared_receives = shared.get();
    auto target = make_pair(changed);
    auto initiator = make_pair();
    auto way = active.channel->resolve(door->local_endpoint()).value();
    active_event(*way, connection_event_type::resolved);
    REQUIRE_FALSE(way->connect(*initiator, {}));
    auto arrived = request().incoming;
    REQUIRE_FALSE(arrived->accept(*target, {}));
    active_event(*way, connection_event_type::established);
    passive_event(*arrived, connection_event_type::established);
    const local_segment into[] = {far_bytes(0, 64)};
    REQUIRE_FALSE(shared->post_receive(std::array{receive_request{5, into}, receive_request{6, into}}).error);
    CHECK(target->post_receive(std::array{receive_request{5, into}}).error == errc::wrong_state);
    const local_segment from[] = {near_bytes(0, 64)};
    auto send = make(1, opcode::send, from);
    send.signaled = false;
    REQUIRE_FALSE(initiator->post_send(std::array{send, send}).error);
    CHECK(expect_success(5, completion_opcode::receive).queue_pair_number == target->number());
    CHECK(expect_success(6, completion_opcode::receive).byte_count == 64);
    way.reset();
    arrived.reset();
}

TEST_CASE_METHOD(fabric_fixture, "a completion queue admits only what it can hold", "[verbs][softroce]")
{
    auto small = hardware->create_completion_queue(3 * depth).value();
    auto changed = options();
    changed.send_completions = small.get();
    changed.receive_completions = small.get();
    auto first = domain->create_queue_pair(changed);
    REQUIRE(first);
    CHECK(domain->create_queue_pair(changed).error() == errc::completion_queue_full);
    first.value().reset();
    CHECK(domain->create_queue_pair(changed));
}
