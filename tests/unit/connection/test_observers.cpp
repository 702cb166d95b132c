#include "world.hpp"

#include <string>

using namespace penstock;
using namespace penstock::test;
using connection::control_kind;

namespace {

/// Writes down what it is told, and may do something besides.
struct witness final : connection::lane_observer {
    std::vector<std::string> told;
    std::function<void()> also;

    void note(const std::string& what)
    {
        told.push_back(what);
        if (also) {
            also();
        }
    }
    void lane_up(std::size_t index) override { note("up " + std::to_string(index)); }
    void lane_lost(std::size_t index, error_code) override { note("lost " + std::to_string(index)); }
    void lane_fenced(std::size_t index) override { note("fenced " + std::to_string(index)); }
    void closed(error_code) override { note("closed"); }
};

const std::vector<std::string> whole_end{"lost 0", "fenced 0", "closed"};

std::string text_of(std::span<const std::byte> bytes)
{
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::span<const std::byte> bytes_of(const std::string& text)
{
    return std::as_bytes(std::span(text));
}

} // namespace

TEST_CASE("who watches a connection is told of its end in order, also when the connection object is gone")
{
    world w;
    witness here;
    witness there;
    auto ours = w.connect();
    ours->add(here);
    w.accepted.front()->add(there);
    CHECK(ours->lane_count() == 1);
    CHECK(ours->lane_at(0) == &ours->data());
    CHECK(ours->lane_at(1) == nullptr);
    CHECK(ours->lane_at(1'000) == nullptr);
    SECTION("closed")
    {
        ours->close();
        CHECK(ours->lane_at(0) == nullptr);
        CHECK(ours->lost() == errc::connection_closed);
        CHECK(ours->data().failed());
    }
    SECTION("destroyed")
    {
        ours.reset();
    }
    SECTION("a lane failed")
    {
        ours->data().fail(errc::lane_error);
    }
    CHECK(here.told.empty());
    w.run_until([&] { return here.told.size() == 3 && there.told.size() == 3; });
    CHECK(here.told == whole_end);
    CHECK(there.told == whole_end);
    CHECK(w.accepted.front()->lane_at(0) == nullptr);
}

TEST_CASE("observers may leave, take others along, and destroy the connection while they are told")
{
    world w;
    auto ours = w.connect();
    std::optional<witness> first(std::in_place);
    std::optional<witness> second(std::in_place);
    witness last;
    ours->add(*first);
    ours->add(*second);
    ours->add(last);
    first->also = [&] {
        second.reset();
        ours.reset();
        first.reset();
    };
    ours->data().fail(errc::lane_error);
    w.run_until([&] { return last.told.size() == 3; });
    CHECK(last.told == whole_end);
    CHECK_FALSE(first.has_value());
}

TEST_CASE("one that was removed is told nothing more")
{
    world w;
    auto ours = w.connect();
    witness removed;
    witness stays;
    ours->add(removed);
    ours->add(stays);
    ours->remove(removed);
    ours.reset();
    w.run_until([&] { return stays.told.size() == 3; });
    CHECK(removed.told.empty());
}

TEST_CASE("control messages arrive in order and by kind, both ways")
{
    world w;
    auto ours = w.connect();
    auto& theirs = *w.accepted.front();
    std::vector<std::string> heard;
    theirs.on_control(control_kind::revoke, [&](auto bytes) { heard.push_back("revoke " + text_of(bytes)); });
    theirs.on_control(control_kind::released, [&](auto bytes) { heard.push_back("released " + text_of(bytes)); });
    ours->on_control(control_kind::released, [&](auto bytes) { heard.push_back("back " + text_of(bytes)); });
    CHECK_FALSE(ours->send_control(control_kind::revoke, bytes_of("one")).failed());
    CHECK_FALSE(ours->send_control(control_kind::released, {}).failed());
    const std::string longest(connection::control_payload_max, 'x');
    CHECK_FALSE(ours->send_control(control_kind::revoke, bytes_of(longest)).failed());
    CHECK(ours->send_control(control_kind::revoke, bytes_of(longest + "x")) == errc::invalid_argument);
    w.run_until([&] { return heard.size() == 3; });
    CHECK(heard == std::vector<std::string>{"revoke one", "released ", "revoke " + longest});
    CHECK_FALSE(theirs.send_control(control_kind::revoke, bytes_of("nobody listens for it")).failed());
    CHECK_FALSE(theirs.send_control(control_kind::released, bytes_of("four")).failed());
    w.run_until([&] { return heard.size() == 4; });
    CHECK(heard.back() == "back four");
    ours->close();
    CHECK(ours->send_control(control_kind::revoke, {}) == errc::connection_lost);
}

TEST_CASE("more control messages than there is room for are refused, and there is room again")
{
    world w;
    auto ours = w.connect();
    std::size_t heard = 0;
    w.accepted.front()->on_control(control_kind::revoke, [&](auto) { ++heard; });
    std::size_t sent = 0;
    error_code why;
    while (!why.failed() && sent < 1'000) {
        why = ours->send_control(control_kind::revoke, bytes_of("again"));
        sent += why.failed() ? 0 : 1;
    }
    CHECK(why == errc::send_queue_full);
    w.run_until([&] { return heard == sent; });
    w.run_until([&] { return !ours->send_control(control_kind::revoke, bytes_of("once more")).failed(); });
    w.run_until([&] { return heard == sent + 1; });
}

TEST_CASE("a control message's handler may close the connection")
{
    world w;
    auto ours = w.connect();
    witness there;
    w.accepted.front()->add(there);
    w.accepted.front()->on_control(control_kind::revoke, [&](auto) { w.accepted.clear(); });
    CHECK_FALSE(ours->send_control(control_kind::revoke, {}).failed());
    w.run_until([&] { return there.told.size() == 3; });
}
