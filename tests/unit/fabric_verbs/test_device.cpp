// What the device really does with the path it was given, and what happens when ports and addresses change under it.

#include "fabric/verbs/connection.hpp"
#include "fixture.hpp"

#include <poll.h>

#include <algorithm>
#include <cstdlib>

using namespace penstock;
using namespace penstock::fabric;
using namespace penstock::fabric::test;
using event = connection_event_type;

namespace {

path_options unusual()
{
    path_options path;
    path.retry_count = 3;
    path.rnr_retry_count = 5;
    path.rnr_delay = 500us;
    path.acknowledge_timeout = 1ms;
    path.initiator_depth = 9;
    path.responder_resources = 8;
    path.traffic_class = 0x68;
    path.service_level = 3;
    path.packet_bytes_max = 1'024;
    return path;
}

class unusual_fixture : public connected_fixture {
public:
    unusual_fixture()
        : connected_fixture(unusual())
    {}
};

/// Runs `ip` on the fixture's interface. Where tools/softroce found a device that is not its own, nothing may be changed.
bool ip(const std::string& arguments)
{
    const char* const way = std::getenv("PENSTOCK_SOFTROCE");
    if (way == nullptr || std::string_view(way) == "existing")
        FAIL("this test changes network interfaces: run it under tools/softroce --way guest");
    return std::system(("ip " + arguments).c_str()) == 0; // NOLINT(cert-env33-c): the guest's own tool
}

std::vector<device_event> drain(device& from)
{
    std::vector<device_event> all;
    std::array<device_event, 2> some; // fewer than come at once
    while (const auto count = from.poll_events(some))
        all.insert(all.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(count));
    return all;
}

bool readable(int descriptor, int milliseconds)
{
    pollfd waiting{descriptor, POLLIN, 0};
    return ::poll(&waiting, 1, milliseconds) == 1;
}

/// Drains until an event of this type comes.
void expect_event(device& from, device_event_type type)
{
    const auto start = std::chrono::steady_clock::now();
    for (;;) {
        const auto events = drain(from);
        if (std::any_of(events.begin(), events.end(), [&](const device_event& each) { return each.type == type; }))
            return;
        REQUIRE(std::chrono::steady_clock::now() - start < 10s);
        readable(from.event_descriptor(), 100);
    }
}

/// Connects two new queue pairs of `on` from `from`; the active side's connection and its last event.
struct attempt {
    attempt(fabric_fixture& fixture, device& on, provider& through, const endpoint& from)
        : client(through)
        , domain(on.allocate_protection_domain().value())
        , completions(on.create_completion_queue(64).value())
        , door(fixture.passive.channel->listen(from).value())
    {
        queue_pair_options options;
        options.send_completions = options.receive_completions = completions.get();
        options.send_depth = options.receive_depth = 4;
        near = domain->create_queue_pair(options).value();
        far = fixture.make_pair();
        outgoing = client.channel->resolve(door->local_endpoint(), {source_for(on.info(), from)}).value();
        last = client.take(outgoing.get(), "resolved", fixture.passive);
        if (last.type != event::resolved)
            return;
        REQUIRE_FALSE(outgoing->connect(*near, {}));
        auto request = fixture.passive.take(nullptr, "a connect request", client);
        incoming = std::move(request.incoming);
        REQUIRE_FALSE(incoming->accept(*far, {}));
        last = client.take(outgoing.get(), "the outcome", fixture.passive);
    }

    side client;
    std::unique_ptr<protection_domain> domain;
    std::unique_ptr<completion_queue> completions;
    std::unique_ptr<listener> door;
    std::unique_ptr<queue_pair> near;
    std::unique_ptr<queue_pair> far;
    std::unique_ptr<connection> outgoing;
    std::unique_ptr<connection> incoming;
    connection_event last;
};

std::string ipv6_of(const device_info& info)
{
    for (const auto& each : info.candidates)
        if (each.address.find(':') != std::string::npos && !each.address.starts_with("fe80"))
            return each.address;
    FAIL("the device has a global IPv6 address");
    return {};
}

std::uint32_t index_of(const device_info& info, const std::string& address)
{
    const auto found = std::find_if(info.candidates.begin(), info.candidates.end(),
        [&](const path_candidate& each) { return each.address == address; });
    REQUIRE(found != info.candidates.end());
    return found->gid_index;
}

device_info look_again(const provider& from, const std::string& name)
{
    const auto infos = from.devices();
    return *std::find_if(infos.begin(), infos.end(), [&](const device_info& each) { return each.name == name; });
}

} // namespace

TEST_CASE_METHOD(unusual_fixture, "queue pairs have the path that was asked for", "[verbs][softroce]")
{
    for (const auto* each : {outgoing.get(), incoming.get()}) {
        const auto path = each->path().value();
        CHECK(path.port == hardware->info().port);
        CHECK(path.gid_index == hardware->info().gid_index);
        CHECK(path.gid == hardware->info().gid);
        CHECK(path.options.retry_count == 3);
        CHECK(path.options.rnr_retry_count == 5);
        CHECK(path.options.rnr_delay == 640us);
        CHECK(path.options.acknowledge_timeout == 1'048us);
        CHECK(path.options.initiator_depth == 8); // what the peer serves
        CHECK(path.options.responder_resources == 8);
        CHECK(path.options.traffic_class == 0x68);
        CHECK(path.options.service_level == 0); // SoftRoCE takes it and forgets it: a packet of its has none
        CHECK(path.options.packet_bytes_max == 1'024);
    }
    // Both sides state the same packet size: messages of several packets arrive.
    const local_segment from[] = {near_bytes(0, 10'000)};
    send_request write;
    write.operation = opcode::write;
    write.local = from;
    write.remote = {reinterpret_cast<std::uint64_t>(far_memory.data()), far_region->rkey()};
    near_memory[9'999] = std::byte{7};
    REQUIRE_FALSE(near->post_send({&write, 1}).error);
    expect_success(0, completion_opcode::write);
    CHECK(far_memory[9'999] == std::byte{7});
}

TEST_CASE_METHOD(
    connected_fixture, "rdma_cm's receiver-not-ready delay of 655 ms is never in effect", "[verbs][softroce]")
{
    for (const auto* each : {outgoing.get(), incoming.get()}) {
        const auto path = each->path().value();
        CHECK(path.options.rnr_delay == 10us);
        CHECK(path.options.retry_count == fabric::path_options().retry_count);
        CHECK(path.options.acknowledge_timeout == 134'217us);
        CHECK(path.options.packet_bytes_max == hardware->info().mtu);
    }
    near->move_to_error();
    active_event(*outgoing, event::disconnected);
    CHECK(outgoing->path().error() == errc::wrong_state);
}

TEST_CASE_METHOD(fabric_fixture, "what is chosen is told, with a reason for each candidate", "[verbs][softroce]")
{
    const auto& info = hardware->info();
    CHECK(info.port == 1);
    CHECK(info.state == "active");
    CHECK(info.layer == link_layer::ethernet);
    CHECK(info.gid == "::ffff:" + info.addresses.front());
    CHECK(info.mtu >= 1'024);
    CHECK(info.speed >= 1'000'000'000);
    CHECK(info.why.find("RoCE v2, " + info.addresses.front()) == 0);
    REQUIRE(info.candidates.size() >= 3);
    for (const auto& each : info.candidates) {
        CHECK(each.usable);
        CHECK_FALSE(each.why.empty());
    }
    CHECK(source->open(info.name + ":2").error() == errc::no_device);
    CHECK(source->open(info.name + ":1:99").error() == errc::no_device);
    CHECK(source->open(info.name + ":x").error() == errc::invalid_argument);
}

TEST_CASE_METHOD(fabric_fixture, "the GID that was asked for is used, and nothing else", "[verbs][softroce]")
{
    const auto address_v6 = ipv6_of(hardware->info());
    const auto index = index_of(hardware->info(), address_v6);
    const auto device = source->open(hardware->info().name + ":1:" + std::to_string(index)).value();
    CHECK(device->info().gid_index == index);
    CHECK(device->info().addresses == std::vector<std::string>{address_v6});
    attempt over_it(*this, *device, *source, {boost::asio::ip::make_address(address_v6), 0});
    REQUIRE(static_cast<int>(over_it.last.type) == static_cast<int>(event::established));
    CHECK(over_it.outgoing->path().value().gid == address_v6);
    CHECK(over_it.outgoing->path().value().gid_index == index);
    attempt over_another(*this, *device, *source, address); // IPv4: rdma_cm takes the IPv4 GID
    CHECK(static_cast<int>(over_another.last.type) == static_cast<int>(event::failed));
    CHECK(over_another.last.error == errc::no_device);
    CHECK(over_another.near->state() == queue_pair_state::error);
}

TEST_CASE_METHOD(fabric_fixture, "a GID whose index moves is still the one that was asked for", "[verbs][softroce]")
{
    const auto name = hardware->info().name;
    const auto interface = hardware->info().interface;
    const auto address_v6 = ipv6_of(hardware->info());
    const auto index = index_of(hardware->info(), address_v6);
    const auto device = source->open(name + ":1:" + std::to_string(index)).value();
    drain(*device);
    // Another address takes its place in the table.
    REQUIRE(ip("addr del " + address_v6 + "/64 dev " + interface));
    expect_event(*device, device_event_type::gid_changed);
    REQUIRE(ip("addr add fd99::77/64 nodad dev " + interface));
    expect_event(*device, device_event_type::gid_changed);
    REQUIRE(ip("addr add " + address_v6 + "/64 nodad dev " + interface));
    expect_event(*device, device_event_type::gid_changed);
    const auto moved = index_of(look_again(*source, name), address_v6);
    CHECK(moved != index);
    {
        attempt over_it(*this, *device, *source, {boost::asio::ip::make_address(address_v6), 0});
        REQUIRE(static_cast<int>(over_it.last.type) == static_cast<int>(event::established));
        CHECK(over_it.outgoing->path().value().gid_index == moved);
        CHECK(over_it.outgoing->path().value().gid == address_v6);
    }
    REQUIRE(ip("addr del fd99::77/64 dev " + interface));
}

TEST_CASE_METHOD(
    fabric_fixture, "a port that goes down and comes back is told, and its events end", "[verbs][softroce]")
{
    const auto name = hardware->info().name;
    const auto interface = hardware->info().interface;
    const auto address_v6 = ipv6_of(hardware->info());
    drain(*hardware);
    CHECK_FALSE(readable(hardware->event_descriptor(), 0));
    for (int round = 0; round != 5; ++round) {
        REQUIRE(ip("link set " + interface + " down"));
        expect_event(*hardware, device_event_type::port_error);
        CHECK(look_again(*source, name).state.find("not active") != std::string::npos);
        REQUIRE(ip("link set " + interface + " up"));
        expect_event(*hardware, device_event_type::port_active);
    }
    // Going down takes the IPv6 address with it.
    REQUIRE(ip("addr add " + address_v6 + "/64 nodad dev " + interface));
    expect_event(*hardware, device_event_type::gid_changed);
    wait_for(
        "the port is active", [&] { return look_again(*source, name).state == "active"; }, [&] { drain(*hardware); });
    CHECK(drain(*hardware).size() <= 2);
    CHECK_FALSE(readable(hardware->event_descriptor(), 0)); // drained to its end
}

TEST_CASE_METHOD(
    connected_fixture, "UNREACHABLE after ESTABLISHED is a lost connection, told once", "[verbs][softroce]")
{
    auto& inside = static_cast<verbs::verbs_connection&>(*incoming);
    connection_event out;
    REQUIRE(inside.on_event({RDMA_CM_EVENT_UNREACHABLE, -110, 0}, out));
    CHECK(out.type == event::disconnected);
    CHECK(out.error == errc::connection_lost);
    CHECK(out.source == incoming.get());
    CHECK(far->state() == queue_pair_state::error);
    // What rdma_cm says after it, and a second time, is told no more.
    for (const auto type : {RDMA_CM_EVENT_UNREACHABLE, RDMA_CM_EVENT_DISCONNECTED, RDMA_CM_EVENT_TIMEWAIT_EXIT,
             RDMA_CM_EVENT_ESTABLISHED, RDMA_CM_EVENT_DEVICE_REMOVAL})
        CHECK_FALSE(inside.on_event({type, 0, 0}, out));
    CHECK_FALSE(active_event(*outgoing, event::disconnected).error);
    for (int i = 0; i != 100; ++i)
        turn();
    CHECK(passive.events.empty());
}
