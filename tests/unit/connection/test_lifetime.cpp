#include "world.hpp"

#include <penstock/transfer/transfer.hpp>

using namespace penstock;
using namespace penstock::test;

namespace {

constexpr int steps = 40; // a connection is made in fewer

/// Runs `count` handlers, or until there are none.
void step(world& w, int count)
{
    for (int i = 0; i != count && w.context.run_one_for(std::chrono::milliseconds(2)) != 0; ++i) {}
}

} // namespace

TEST_CASE("either side may end at every step of a connection's beginning")
{
    const std::size_t before = open_descriptors();
    int made = 0;
    for (int count = 0; count != steps; ++count) {
        INFO("step " << count);
        for (const int what : {0, 1, 2, 3}) {
            world w;
            attempt one;
            w.begin(one);
            step(w, count);
            made += one.made ? 1 : 0;
            if (what == 0) { // the client's runtime
                one.made.reset();
                w.client.reset();
            } else if (what == 1) { // the acceptor
                w.listening.reset();
            } else if (what == 2) { // all of the server
                w.listening.reset();
                w.accepted.clear();
                w.server.reset();
            } else { // the connections
                one.made.reset();
                w.accepted.clear();
            }
            step(w, 8);
            one.made.reset();
        }
    }
    CHECK(made > 0);
    CHECK(open_descriptors() == before);
}

TEST_CASE("a runtime that ends before its connection was told of takes it along")
{
    world w;
    bool called = false;
    const auto held = std::make_shared<int>(1);
    connection::async_connect(
        *w.client, w.listening->local_endpoint(), {}, [held, &called](error_code, connection_ptr) { called = true; });
    w.run_until([&] { return w.accepted.size() == 1; });
    w.client.reset();
    step(w, 8);
    CHECK((called || held.use_count() == 1));
}

TEST_CASE("everything is back where it was after a connection")
{
    world w;
    (void)w.connect();
    w.accepted.clear();
    w.run_until([&] { return w.server->messages().statistics().in_use == 0; });
    w.run_until([&] { return w.client->messages().statistics().in_use == 0; });
    const auto before = open_descriptors();
    for (int i = 0; i != 5; ++i) {
        auto here = w.connect();
        CHECK(open_descriptors() > before);
        const int way = i % 2;
        if (way == 0) {
            here->data().fail(errc::lane_error);
        }
        w.accepted.clear();
        here.reset();
        w.run_until([&] {
            return w.client->messages().statistics().in_use == 0 && w.server->messages().statistics().in_use == 0
                && w.client->poller().outstanding() == 0 && w.server->poller().outstanding() == 1;
        });
        CHECK(open_descriptors() == before);
        CHECK(w.listening->statistics().open == 0);
    }
}

TEST_CASE("an owner that refuses a connection, or ends the acceptor, inside the call")
{
    world w;
    bool called = false;
    std::optional<connection::acceptor> other;
    const bool ends = GENERATE(false, true);
    acceptor_options options;
    options.listen = {boost::asio::ip::address_v4::loopback(), 0};
    const auto captured = std::make_shared<int>(3);
    int seen = 0;
    other.emplace(*w.server, options, [&, captured, ends](connection_ptr made) {
        made.reset();
        if (ends) {
            other.reset();
        }
        called = true;
        seen = *captured; // of the function that is running
    });
    attempt one;
    connection::async_connect(*w.client, other->local_endpoint(), {}, [&](error_code error, connection_ptr made) {
        one.ended = true;
        one.error = error;
        one.made = std::move(made);
    });
    w.run_until([&] { return called && one.ended; });
    CHECK(seen == 3);
    CHECK((one.error.failed() || one.made->data().failed() || one.made));
}

TEST_CASE("a connection closed in its message handler is fenced afterwards")
{
    world w;
    auto here = w.connect();
    bool fenced = false;
    w.accepted.front()->on_message([&](std::span<const std::byte>) {
        w.accepted.front()->close([&] { fenced = true; });
        CHECK_FALSE(fenced);
    });
    const auto slot = here->data().acquire_message().value();
    transfer::async_send(here->data(), slot.segment(8), [](error_code) {});
    w.run_until([&] { return fenced; });
}
