#include "fixture.hpp"

#include <chrono>
#include <cstdlib>

namespace penstock::fabric::test {

void wait_for(const char* what, const std::function<bool()>& done, const std::function<void()>& turn)
{
    const auto deadline = std::chrono::steady_clock::now() + 10s;
    while (!done()) {
        if (std::chrono::steady_clock::now() > deadline)
            FAIL("waited ten seconds in vain for: " << what);
        turn();
    }
}

std::span<const std::byte> bytes_of(std::string_view text)
{
    return std::as_bytes(std::span(text.data(), text.size()));
}

side::side(provider& from)
    : channel(from.create_connection_channel().value())
{}

void side::poll()
{
    std::array<connection_event, 4> taken;
    const auto count = channel->poll(taken);
    for (std::size_t i = 0; i < count; ++i)
        events.push_back(std::move(taken[i]));
}

connection_event side::take(const connection* source, const char* what, side& other)
{
    auto found = events.end();
    wait_for(
        what,
        [&] {
            found = std::find_if(
                events.begin(), events.end(), [&](const connection_event& event) { return event.source == source; });
            return found != events.end();
        },
        [&] {
            poll();
            other.poll();
        });
    auto event = std::move(*found);
    events.erase(found);
    return event;
}

std::size_t side::events_about(const connection* source) const
{
    return static_cast<std::size_t>(std::count_if(
        events.begin(), events.end(), [&](const connection_event& event) { return event.source == source; }));
}

fabric_fixture::fabric_fixture()
    : active(*source)
    , passive(*source)
{
    const auto infos = source->devices();
    if (infos.empty() || infos.front().addresses.empty())
        FAIL("no verbs device with an address: run under tools/softroce");
    address = endpoint(boost::asio::ip::make_address(infos.front().addresses.front()), 0);
    hardware = source->open().value();
    domain = hardware->allocate_protection_domain().value();
    completions = hardware->create_completion_queue(1'024).value();
}

queue_pair_options fabric_fixture::options() const
{
    queue_pair_options made;
    made.send_completions = completions.get();
    made.receive_completions = completions.get();
    made.send_depth = depth;
    made.receive_depth = depth;
    made.inline_bytes_max = 64;
    return made;
}

std::unique_ptr<queue_pair> fabric_fixture::make_pair(queue_pair_options changed) const
{
    return domain->create_queue_pair(changed).value();
}

void fabric_fixture::turn()
{
    active.poll();
    passive.poll();
    std::array<work_completion, 8> taken;
    const auto count = completions->poll(taken);
    told_.insert(told_.end(), taken.begin(), taken.begin() + static_cast<std::ptrdiff_t>(count));
}

work_completion fabric_fixture::next()
{
    wait_for(
        "a completion", [&] { return !told_.empty(); }, [&] { turn(); });
    const auto taken = told_.front();
    told_.pop_front();
    return taken;
}

work_completion fabric_fixture::expect_success(std::uint64_t id, completion_opcode operation)
{
    const auto done = next();
    INFO("vendor error " << done.vendor_error << ", status " << to_string(done.status));
    REQUIRE(done.status == completion_status::success);
    REQUIRE(done.id == id);
    REQUIRE(done.operation == operation);
    return done;
}

work_completion fabric_fixture::expect_status(std::uint64_t id, completion_status status)
{
    const auto done = next();
    REQUIRE(done.id == id);
    REQUIRE(to_string(done.status) == to_string(status));
    return done;
}

void fabric_fixture::expect_no_completion()
{
    turn();
    REQUIRE(told_.empty());
}

connection_event fabric_fixture::active_event(const connection& about, connection_event_type expected)
{
    auto event = active.take(&about, "an event at the active side", passive);
    INFO("error: " << event.error.message());
    REQUIRE(static_cast<int>(event.type) == static_cast<int>(expected));
    return event;
}

connection_event fabric_fixture::passive_event(const connection& about, connection_event_type expected)
{
    auto event = passive.take(&about, "an event at the passive side", active);
    INFO("error: " << event.error.message());
    REQUIRE(static_cast<int>(event.type) == static_cast<int>(expected));
    return event;
}

connection_event fabric_fixture::request()
{
    auto event = passive.take(nullptr, "a connect request", active);
    REQUIRE(static_cast<int>(event.type) == static_cast<int>(connection_event_type::connect_request));
    REQUIRE(event.incoming);
    return event;
}

connected_fixture::connected_fixture(const path_options& path)
{
    const auto rights = access::local_write | access::remote_write | access::remote_read | access::remote_atomic
        | access::window_bind;
    near_region = domain->register_memory(near_memory, rights).value();
    far_region = domain->register_memory(far_memory, rights).value();
    near = make_pair();
    far = make_pair();
    door = passive.channel->listen(address).value();
    outgoing = active.channel->resolve(door->local_endpoint()).value();
    active_event(*outgoing, connection_event_type::resolved);
    REQUIRE_FALSE(outgoing->connect(*near, {bytes_of("hello"), path}));
    incoming = request().incoming;
    REQUIRE_FALSE(incoming->accept(*far, {bytes_of("welcome"), path}));
    active_event(*outgoing, connection_event_type::established);
    passive_event(*incoming, connection_event_type::established);
}

connected_fixture::~connected_fixture() = default;

local_segment connected_fixture::near_bytes(std::size_t offset, std::uint32_t length) const
{
    return {near_region->bytes().data() + offset, length, near_region->lkey()};
}

local_segment connected_fixture::far_bytes(std::size_t offset, std::uint32_t length) const
{
    return {far_region->bytes().data() + offset, length, far_region->lkey()};
}

} // namespace penstock::fabric::test
