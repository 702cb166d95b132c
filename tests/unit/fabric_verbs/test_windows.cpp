#include "fixture.hpp"

#include <chrono>
#include <cstring>

using namespace penstock;
using namespace penstock::fabric;
using namespace penstock::fabric::test;

namespace {

class window_fixture : public connected_fixture {
public:
    window_fixture()
        : window(domain->allocate_window().value())
    {}

    send_request bind(std::uint64_t id)
    {
        send_request request;
        request.id = id;
        request.operation = opcode::bind_window;
        request.bind = {window.get(), far_region.get(), far_memory.data() + 4'096, 4'096,
            access::remote_read | access::remote_write};
        return request;
    }

    static send_request invalidate(std::uint64_t id, std::uint32_t key)
    {
        send_request request;
        request.id = id;
        request.operation = opcode::local_invalidate;
        request.invalidate_key = key;
        return request;
    }

    send_request write(std::uint64_t id, std::uint32_t key)
    {
        from_[0] = near_bytes(0, 64);
        send_request request;
        request.id = id;
        request.operation = opcode::write;
        request.local = from_;
        request.remote = {reinterpret_cast<std::uintptr_t>(far_memory.data() + 4'096), key};
        return request;
    }

    void post(queue_pair& pair, const send_request& request) { REQUIRE_FALSE(pair.post_send({&request, 1}).error); }

    std::unique_ptr<memory_window> window;

private:
    std::array<local_segment, 1> from_;
};

} // namespace

TEST_CASE_METHOD(window_fixture, "a bound window lets the peer write, an invalidated one does not", "[verbs][softroce]")
{
    near_memory[5] = std::byte{77};
    const auto key = window->next_key();
    post(*far, bind(1));
    REQUIRE(window->key() == key);
    REQUIRE(window->next_key() != key);
    expect_success(1, completion_opcode::bind_window);
    post(*near, write(2, key));
    expect_success(2, completion_opcode::write);
    REQUIRE(far_memory[4'096 + 5] == std::byte{77});
    REQUIRE(far_region->deregister() == errc::region_in_use);
    post(*far, invalidate(3, key));
    expect_success(3, completion_opcode::local_invalidate);
    post(*near, write(4, key));
    expect_status(4, completion_status::remote_access_error);
    REQUIRE_FALSE(far_region->deregister());
}

TEST_CASE_METHOD(window_fixture, "one list may bind, invalidate and bind again", "[verbs][softroce]")
{
    const auto first = window->next_key();
    std::vector<send_request> list{bind(1), invalidate(2, first), bind(3)};
    for (int round = 0; round < 300; ++round) {
        INFO("round " << round);
        list[1].invalidate_key = window->next_key();
        REQUIRE_FALSE(far->post_send(list).error);
        expect_success(1, completion_opcode::bind_window);
        expect_success(2, completion_opcode::local_invalidate);
        expect_success(3, completion_opcode::bind_window);
        if (round % 100 == 0) {
            post(*near, write(4, window->key()));
            expect_success(4, completion_opcode::write);
        }
        post(*far, invalidate(5, window->key()));
        expect_success(5, completion_opcode::local_invalidate);
    }
    REQUIRE_FALSE(far_region->deregister());
}

TEST_CASE_METHOD(window_fixture, "invalidating what is not bound fails, and nothing worse", "[verbs][softroce]")
{
    SECTION("twice")
    {
        post(*far, bind(1));
        expect_success(1, completion_opcode::bind_window);
        const auto key = window->key();
        REQUIRE_FALSE(far->post_send(std::array{invalidate(2, key), invalidate(3, key)}).error);
        expect_success(2, completion_opcode::local_invalidate);
    }
    SECTION("a window that was never bound")
    {
        post(*far, invalidate(3, window->key()));
    }
    SECTION("another queue pair's window")
    {
        post(*near, bind(1));
        expect_success(1, completion_opcode::bind_window);
        post(*far, invalidate(3, window->key()));
    }
    SECTION("a key nobody has")
    {
        post(*far, invalidate(3, 0xffff'ff00));
    }
    const auto done = next();
    CHECK(done.id == 3);
    CHECK(done.status != completion_status::success);
    CHECK(done.status != completion_status::flushed);
    CHECK(far->state() == queue_pair_state::error);
}

TEST_CASE_METHOD(window_fixture, "the peer's invalidation is told and remembered", "[verbs][softroce]")
{
    REQUIRE(hardware->supports().has(capability::send_with_invalidate));
    post(*far, bind(1));
    expect_success(1, completion_opcode::bind_window);
    const auto key = window->key();
    REQUIRE_FALSE(far->post_receive(std::array{receive_request{2, {}}}).error);
    send_request send;
    send.id = 3;
    send.signaled = false;
    send.operation = opcode::send_with_invalidate;
    send.invalidate_key = key;
    post(*near, send);
    const auto done = expect_success(2, completion_opcode::receive);
    CHECK(done.has_invalidated_key);
    CHECK(done.invalidated_key == key);
    SECTION("the region is free")
    {
        CHECK_FALSE(far_region->deregister());
    }
    SECTION("a second invalidation fails")
    {
        post(*far, invalidate(4, key));
        CHECK(next().status != completion_status::success);
    }
}

TEST_CASE_METHOD(window_fixture, "a window bound on a queue pair in ERROR is deallocated", "[verbs][softroce]")
{
    post(*far, bind(1));
    expect_success(1, completion_opcode::bind_window);
    REQUIRE_FALSE(far->move_to_error());
    post(*far, invalidate(2, window->key()));
    expect_status(2, completion_status::flushed);
    // The invalidation was only flushed: the device still has the window bound.
    CHECK(far_region->deregister() == errc::region_in_use);
    SECTION("by its destructor")
    {
        window.reset();
        CHECK_FALSE(far_region->deregister());
    }
}

TEST_CASE_METHOD(window_fixture, "a queue pair with a bound window is destroyed promptly", "[verbs][softroce]")
{
    post(*far, bind(1));
    expect_success(1, completion_opcode::bind_window);
    const auto start = std::chrono::steady_clock::now();
    far.reset();
    CHECK(std::chrono::steady_clock::now() - start < 5s);
    CHECK_FALSE(far_region->deregister());
}

TEST_CASE_METHOD(window_fixture, "a window does not open another domain's region", "[verbs][softroce]")
{
    const auto other = hardware->allocate_protection_domain().value();
    std::vector<std::byte> memory(8'192);
    const auto region = other->register_memory(memory, access::local_write | access::window_bind).value();
    auto request = bind(1);
    request.bind.region = region.get();
    request.bind.address = memory.data();
    post(*far, request);
    expect_status(1, completion_status::memory_window_bind_error);
    window.reset();
    CHECK_FALSE(region->deregister());
}

TEST_CASE_METHOD(window_fixture, "a bind that was not posted changes nothing", "[verbs][softroce]")
{
    // Fill the queue so that the bind finds no room.
    std::vector<send_request> list(depth, write(9, far_region->rkey()));
    for (auto& each : list)
        each.signaled = false;
    list.back().signaled = true;
    list.push_back(bind(1));
    const auto key = window->next_key();
    const auto posted = far->post_send(list);
    CHECK(posted.posted == depth);
    CHECK(posted.error == errc::send_queue_full);
    CHECK(window->next_key() == key);
    next();
    CHECK_FALSE(far_region->deregister());
}
