// Send and receive queues: unsignaled work, depth, what a post refuses.

#include "conformance/suite.hpp"

#include <algorithm>

namespace penstock::conformance {

namespace {

// Posted ten times over: the slots of unsignaled work are free again once the last of the batch is told.
void unsignaled_batch(linked& ends)
{
    auto& [a, b] = ends;
    for (std::uint64_t round = 0; round != 10; ++round) {
        std::vector<work> list;
        for (std::uint64_t i = 0; i != a.options.send_depth; ++i) {
            list.push_back(write(i, {a.segment(i * 8, 8)}, b.remote(i * 8)));
            list.back().request.signaled = i + 1 == a.options.send_depth;
        }
        post(a, std::move(list));
        a.completions->expect_success(a.options.send_depth - 1, completion_opcode::write);
    }
    a.home.run_for(5ms);
    expect(a.completions->told.empty(), "unsignaled work completes silently");
}

void unsignaled_covers_every_kind(linked& ends)
{
    auto& [a, b] = ends;
    b.receive_nothing(50);
    b.receive_nothing(51);
    post(a,
        {send(1, {}).unsignaled(), write(2, {a.segment(0, 100)}, b.remote(0)).unsignaled(),
            read(3, {a.segment(1000, 100)}, b.remote(0)).unsignaled(),
            fetch_add(4, a.segment(2000, 8), b.remote(2000), 1).unsignaled(),
            write_with_immediate(5, {}, b.remote(0), 1).unsignaled(), write(6, {a.segment(0, 1)}, b.remote(0))});
    a.completions->expect_success(6, completion_opcode::write);
    expect(a.completions->told.empty(), "the last request's completion is the only one");
    b.completions->expect_success(50, completion_opcode::receive);
    b.completions->expect_success(51, completion_opcode::receive_write_immediate);
}

void unsignaled_failure_completes(linked& ends)
{
    auto& [a, b] = ends;
    auto wrong = b.remote(0);
    wrong.rkey ^= 0x5a5aU;
    post(a,
        {write(1, {a.segment(0, 8)}, b.remote(0)).unsignaled(), write(2, {a.segment(0, 8)}, wrong).unsignaled(),
            write(3, {a.segment(0, 8)}, b.remote(0)).unsignaled(), write(4, {}, b.remote(0))});
    a.completions->expect_failure(2, completion_status::remote_access_error);
    a.completions->expect_failure(3, completion_status::flushed);
    a.completions->expect_failure(4, completion_status::flushed);
    a.expect_in_error();
}

// The peer has no receives, so nothing leaves the queue. `send_depth` is what fits at least: a device may round up.
void send_queue_full(world& home)
{
    end_options options;
    options.send_depth = 16;
    options.completion_depth = 4096;
    linked ends(home, options);
    auto& [a, b] = ends;
    std::size_t posted = 0;
    error_code error;
    while (!error && posted < 2048) {
        const auto done = try_post(*a.pair, {send(posted, {})});
        posted += done.posted;
        error = done.error;
    }
    expect_error("posting into a full queue", error, errc::send_queue_full);
    expect(posted >= options.send_depth, "as many as asked for fit");
    for (std::size_t i = 0; i != std::min<std::size_t>(posted, b.options.receive_depth); ++i)
        b.receive_nothing(i);
    for (std::size_t i = 0; i != posted; ++i) {
        if (i + b.options.receive_depth < posted)
            b.receive_nothing(i);
        a.completions->expect_success(i, completion_opcode::send);
    }
    b.receive_nothing(0);
    post(a, {send(4000, {})});
    a.completions->expect_success(4000, completion_opcode::send);
}

void list_beyond_the_queue_is_posted_partly(world& home)
{
    end_options options;
    options.send_depth = 16;
    options.completion_depth = 4096;
    linked ends(home, options);
    auto& [a, b] = ends;
    std::vector<work> list;
    for (std::uint64_t i = 0; i != 2048; ++i)
        list.push_back(send(i, {}));
    const auto done = try_post(*a.pair, std::move(list));
    expect_error("posting more than the queue holds", done.error, errc::send_queue_full);
    expect(done.posted >= options.send_depth && done.posted < 2048, "as many as fit are posted");
    expect_success("move_to_error", a.pair->move_to_error());
    for (std::uint64_t i = 0; i != done.posted; ++i)
        a.completions->expect_failure(i, completion_status::flushed);
    expect(a.completions->told.empty(), "what was not posted does not complete");
}

void receive_queue_full(world& home)
{
    end_options options;
    options.receive_depth = 8;
    options.completion_depth = 4096;
    linked ends(home, {}, options);
    std::size_t posted = 0;
    error_code error;
    while (!error && posted < 2048) {
        const receive_request request{posted, {}};
        const auto done = ends.b.pair->post_receive({&request, 1});
        posted += done.posted;
        error = done.error;
    }
    expect_error("posting into a full receive queue", error, errc::receive_queue_full);
    expect(posted >= options.receive_depth, "as many as asked for fit");
    for (std::uint64_t i = 0; i != posted; ++i) {
        post(ends.a, {send(i, {})});
        ends.b.completions->expect_success(i, completion_opcode::receive);
        ends.a.completions->expect_success(i, completion_opcode::send);
    }
}

void too_many_segments(world& home)
{
    end_options options;
    options.segments_max = 2;
    linked ends(home, options, options);
    auto& [a, b] = ends;
    // A device may round the number up, not beyond its own limit.
    const auto many = a.side.hardware->limits().segments_max + 1;
    const segments list(many, a.segment(0, 1));
    const auto refused = try_post(*a.pair, {write(1, {a.segment(0, 1)}, b.remote(0)), send(2, list)});
    expect_error("a send of too many segments", refused.error, errc::too_many_segments);
    expect_equal("requests posted", refused.posted, 1U);
    a.completions->expect_success(1, completion_opcode::write);
    const segments into(many, b.segment(0, 1));
    const receive_request request{3, into};
    const auto refused_receive = b.pair->post_receive({&request, 1});
    expect_error("a receive of too many segments", refused_receive.error, errc::too_many_segments);
    expect_equal("receives posted", refused_receive.posted, 0U);
    a.expect_ready();
}

void message_too_long(linked& ends)
{
    auto& [a, b] = ends;
    auto left = a.side.hardware->limits().message_bytes_max + 1;
    segments list;
    while (left != 0 && list.size() != a.options.segments_max) {
        const auto length = std::min<std::uint64_t>(left, 0xffffffffU);
        list.push_back({a.buffer.at(0), static_cast<std::uint32_t>(length), a.region->lkey()});
        left -= length;
    }
    expect_equal("bytes beyond what segments can name", left, 0U);
    for (auto item : {send(1, list), write(2, list, b.remote(0)), read(3, list, b.remote(0))}) {
        const auto refused = try_post(*a.pair, {item});
        expect_error("a message beyond the device's limit", refused.error, errc::message_too_long);
        expect_equal("requests posted", refused.posted, 0U);
    }
    a.expect_ready();
}

void empty_list(linked& ends)
{
    const auto sent = ends.a.pair->post_send({});
    expect_success("posting nothing", sent.error);
    expect_equal("requests posted", sent.posted, 0U);
    const auto received = ends.b.pair->post_receive({});
    expect_success("posting no receives", received.error);
    expect_equal("receives posted", received.posted, 0U);
}

void send_before_connected(world& home)
{
    end a(home, home.near);
    const auto refused = try_post(*a.pair, {send(1, {})});
    expect_error("a send in INIT", refused.error, errc::wrong_state);
    expect_equal("requests posted", refused.posted, 0U);
    a.receive(2, 0, 64); // receives are taken from INIT on
}

void receive_posted_before_connected(world& home)
{
    end a(home, home.near);
    end b(home, home.far);
    b.receive(7, 0, 64);
    a.receive(8, 0, 64);
    connect(home, a, b);
    post(a, {send(1, {a.segment(100, 5)})});
    expect_equal("bytes", b.completions->expect_success(7, completion_opcode::receive).byte_count, 5U);
    a.completions->expect_success(1, completion_opcode::send);
    post(b, {send(2, {b.segment(100, 6)})});
    expect_equal("bytes", a.completions->expect_success(8, completion_opcode::receive).byte_count, 6U);
    b.completions->expect_success(2, completion_opcode::send);
}

void bind_without_window_is_refused(linked& ends)
{
    auto& a = ends.a;
    const auto window = make_window(a);
    auto no_window = bind(1, *window, a, 0, 8);
    no_window.request.bind.window = nullptr;
    auto no_region = bind(2, *window, a, 0, 8);
    no_region.request.bind.region = nullptr;
    expect_error("a bind without window", try_post(*a.pair, {no_window}).error, errc::invalid_argument);
    expect_error("a bind without region", try_post(*a.pair, {no_region}).error, errc::invalid_argument);
    a.expect_ready();
    bind_and_wait(a, *window, 0, 8);
}

void options_are_checked(world& home)
{
    auto& domain = *home.near.domain;
    queue completions(home, *home.near.hardware, 64);
    const auto& limits = home.near.hardware->limits();
    queue_pair_options good;
    good.send_completions = completions.handle.get();
    good.receive_completions = completions.handle.get();
    good.send_depth = 8;
    good.receive_depth = 8;
    const auto refuse = [&](std::string_view what, auto change) {
        auto options = good;
        change(options);
        expect_refused(what, domain.create_queue_pair(options), errc::invalid_argument);
    };
    refuse("no send completion queue", [](auto& options) { options.send_completions = nullptr; });
    refuse("no receive completion queue", [](auto& options) { options.receive_completions = nullptr; });
    refuse("send depth", [&](auto& options) { options.send_depth = limits.send_depth_max + 1; });
    refuse("receive depth", [&](auto& options) { options.receive_depth = limits.receive_depth_max + 1; });
    refuse("segments", [&](auto& options) { options.send_segments_max = limits.segments_max + 1; });
    refuse("receive segments", [&](auto& options) { options.receive_segments_max = limits.segments_max + 1; });
    refuse("inline bytes", [&](auto& options) { options.inline_bytes_max = limits.inline_bytes_max + 1; });
    const auto pair = take("create_queue_pair", domain.create_queue_pair(good));
    expect_refused("a receive queue without depth", domain.create_shared_receive_queue({0, 1}), errc::invalid_argument);
    expect_refused("a shared receive queue too deep",
        domain.create_shared_receive_queue({limits.shared_receive_depth_max + 1, 1}), errc::invalid_argument);
    expect_refused("a completion queue of 0", home.near.hardware->create_completion_queue(0), errc::invalid_argument);
    expect_refused("a completion queue too deep",
        home.near.hardware->create_completion_queue(limits.completion_queue_depth_max + 1), errc::invalid_argument);
    pages some(4096);
    expect_refused("an empty region", domain.register_memory({}, access::local_write), errc::invalid_argument);
    expect_refused("remote write without local write", domain.register_memory(some.bytes(), access::remote_write),
        errc::invalid_argument);
    expect_refused("remote atomic without local write", domain.register_memory(some.bytes(), access::remote_atomic),
        errc::invalid_argument);
}

constexpr conformance_case cases[] = {
    {"queue/unsignaled_batch", unsignaled_batch},
    {"queue/unsignaled_covers_every_kind", unsignaled_covers_every_kind},
    {"queue/unsignaled_failure_completes", unsignaled_failure_completes},
    {"queue/send_queue_full", send_queue_full},
    {"queue/list_beyond_the_queue_is_posted_partly", list_beyond_the_queue_is_posted_partly},
    {"queue/receive_queue_full", receive_queue_full},
    {"queue/too_many_segments", too_many_segments},
    {"queue/message_too_long", message_too_long},
    {"queue/empty_list", empty_list},
    {"queue/send_before_connected", send_before_connected},
    {"queue/receive_posted_before_connected", receive_posted_before_connected},
    {"queue/bind_without_window_is_refused", bind_without_window_is_refused},
    {"queue/options_are_checked", options_are_checked},
};

} // namespace

case_table queue_cases()
{
    return cases;
}

} // namespace penstock::conformance
