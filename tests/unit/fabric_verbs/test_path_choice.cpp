#include "fabric/verbs/path_choice.hpp"
#include "support/catch.hpp"

#include <boost/asio/ip/address.hpp>

#include <algorithm>

using namespace penstock;
using namespace penstock::fabric;
using namespace penstock::fabric::verbs;

namespace {

constexpr std::uint64_t gigabit = 1'000'000'000;

gid_report gid(std::uint32_t index, gid_kind kind, std::string_view address, std::string interface = "eth0")
{
    gid_report made;
    made.index = index;
    made.kind = kind;
    made.interface = std::move(interface);
    auto parsed = boost::asio::ip::make_address(address);
    const auto bytes
        = (parsed.is_v4() ? make_address_v6(boost::asio::ip::v4_mapped, parsed.to_v4()) : parsed.to_v6()).to_bytes();
    std::copy(bytes.begin(), bytes.end(), made.raw.begin());
    return made;
}

port_report port(std::uint32_t number, std::vector<gid_report> gids)
{
    return {number, "active", link_layer::ethernet, 4'096, 100 * gigabit, std::move(gids)};
}

device_info chosen(const device_report& device, std::string_view wish = "")
{
    device_info info;
    choose_path(device, parse_path_wish(wish).value(), info);
    return info;
}

bool says(const std::string& text, std::string_view part)
{
    INFO(text);
    return text.find(part) != std::string::npos;
}

/// What a RoCE card of today reports: each address as v1 and as v2.
device_report usual()
{
    return {"mlx5_0",
        {port(1,
            {gid(0, gid_kind::roce_v1, "fe80::1"), gid(1, gid_kind::roce_v2, "fe80::1"),
                gid(2, gid_kind::roce_v1, "10.0.0.1"), gid(3, gid_kind::roce_v2, "10.0.0.1"),
                gid(4, gid_kind::roce_v1, "fd00::1"), gid(5, gid_kind::roce_v2, "fd00::1")})}};
}

} // namespace

TEST_CASE("RoCE v2 on the IPv4 address is chosen, and every other entry has its reason", "[verbs][path]")
{
    const auto info = chosen(usual());
    CHECK(info.name == "mlx5_0");
    CHECK(info.state == "active");
    CHECK(info.port == 1);
    CHECK(info.gid_index == 3);
    CHECK(info.gid == "::ffff:10.0.0.1");
    CHECK(info.interface == "eth0");
    CHECK(info.layer == link_layer::ethernet);
    CHECK(info.mtu == 4'096);
    CHECK(info.speed == 100 * gigabit);
    CHECK(info.why == "RoCE v2, 10.0.0.1 on eth0, port 1 active at 100 Gbit/s, packets of 4096 bytes");
    CHECK(info.addresses == std::vector<std::string>{"10.0.0.1", "fd00::1", "fe80::1"});
    REQUIRE(info.candidates.size() == 6);
    const std::vector<std::uint32_t> order{3, 5, 1, 2, 4, 0};
    for (std::size_t i = 0; i != order.size(); ++i) {
        CHECK(info.candidates[i].gid_index == order[i]);
        CHECK(info.candidates[i].usable);
    }
    CHECK(info.candidates[1].why == "not chosen: fd00::1 is IPv6");
    CHECK(info.candidates[2].why == "not chosen: fe80::1 is link-local: it reaches only neighbours");
    CHECK(info.candidates[3].why == "not chosen: RoCE v1 does not cross routers");
}

TEST_CASE("the order in which things are listed does not matter", "[verbs][path]")
{
    auto device = usual();
    std::sort(device.ports[0].gids.begin(), device.ports[0].gids.end(),
        [](const gid_report& a, const gid_report& b) { return a.index > b.index; });
    CHECK(chosen(device).gid_index == 3);
}

TEST_CASE("RoCE v1 is used where there is nothing else", "[verbs][path]")
{
    device_report device{
        "old", {port(1, {gid(0, gid_kind::roce_v1, "fe80::1"), gid(1, gid_kind::roce_v1, "10.0.0.1")})}};
    const auto info = chosen(device);
    CHECK(info.state == "active");
    CHECK(info.gid_index == 1);
    CHECK(says(info.why, "RoCE v1, 10.0.0.1"));
}

TEST_CASE("only link-local is better than nothing", "[verbs][path]")
{
    device_report device{"rxe0", {port(1, {gid(0, gid_kind::roce_v2, "fe80::1")})}};
    const auto info = chosen(device);
    CHECK(info.state == "active");
    CHECK(info.addresses == std::vector<std::string>{"fe80::1"});
}

TEST_CASE("a port that is down is not chosen, however fast", "[verbs][path]")
{
    device_report device{"two",
        {port(1, {gid(0, gid_kind::roce_v2, "10.0.0.1")}), port(2, {gid(0, gid_kind::roce_v2, "fd00::2", "eth1")})}};
    device.ports[0].state = "port down";
    device.ports[0].speed = 400 * gigabit;
    const auto info = chosen(device);
    CHECK(info.port == 2);
    CHECK(info.state == "active");
    REQUIRE(info.candidates.size() == 2);
    CHECK_FALSE(info.candidates[1].usable);
    CHECK(info.candidates[1].why == "cannot be used: port 1 is not active: port down");
    device.ports[1].state = "port down";
    const auto none = chosen(device);
    CHECK(none.state == "port 1 is not active: port down");
    CHECK(says(none.why, "cannot be used: port 1"));
}

TEST_CASE("an interface that is down, or a member of a bond, gives way", "[verbs][path]")
{
    device_report device{"bonded",
        {port(1,
            {gid(0, gid_kind::roce_v2, "10.0.0.1", "eth0"), gid(1, gid_kind::roce_v2, "10.0.0.2", "eth1"),
                gid(2, gid_kind::roce_v2, "10.0.0.3", "bond0")})}};
    auto& gids = device.ports[0].gids;
    gids[0].interface_up = false;
    gids[1].bond = "bond0";
    const auto info = chosen(device);
    CHECK(info.gid_index == 2);
    REQUIRE(info.candidates.size() == 3);
    CHECK(info.candidates[1].why == "not chosen: eth1 is a member of bond0");
    CHECK(info.candidates[2].why == "cannot be used: eth0 is down");
}

TEST_CASE("a VLAN is used where there is no untagged address", "[verbs][path]")
{
    device_report device{"tagged",
        {port(1, {gid(0, gid_kind::roce_v2, "10.0.1.1", "eth0.100"), gid(1, gid_kind::roce_v2, "10.0.0.1")})}};
    device.ports[0].gids[0].vlan = 100;
    const auto info = chosen(device);
    CHECK(info.gid_index == 1);
    CHECK(info.candidates[1].why == "not chosen: it reaches only VLAN 100");
    device.ports[0].gids.pop_back();
    CHECK(says(chosen(device).why, "10.0.1.1 on eth0.100, VLAN 100"));
}

TEST_CASE("of equal ports the faster one is taken, then the one with larger packets, then the first", "[verbs][path]")
{
    device_report device{"two",
        {port(1, {gid(0, gid_kind::roce_v2, "10.0.0.1")}), port(2, {gid(0, gid_kind::roce_v2, "10.0.0.2", "eth1")})}};
    CHECK(chosen(device).port == 1);
    CHECK(chosen(device).candidates[1].why == "not chosen: as good, but later in the table");
    device.ports[1].mtu = 8'192;
    CHECK(chosen(device).port == 2);
    CHECK(chosen(device).candidates[1].why == "not chosen: its packets are smaller: 4096 bytes");
    device.ports[0].speed = 200 * gigabit;
    CHECK(chosen(device).port == 1);
    CHECK(chosen(device).candidates[1].why == "not chosen: port 2 is slower: 100 Gbit/s");
}

TEST_CASE("InfiniBand needs an IPoIB address, and says so", "[verbs][path]")
{
    auto bare = gid(0, gid_kind::infiniband, "fe80::2:c903:0:1", "ib0");
    device_report device{"ib", {port(1, {bare})}};
    device.ports[0].layer = link_layer::infiniband;
    const auto without = chosen(device);
    CHECK(without.state == "no IP address leads to it: give ib0 one");
    CHECK(without.addresses.empty());
    device.ports[0].gids[0].address = "10.1.0.1";
    const auto with = chosen(device);
    CHECK(with.state == "active");
    CHECK(with.addresses == std::vector<std::string>{"10.1.0.1"});
    CHECK(with.gid == "fe80::2:c903:0:1");
    CHECK(says(with.why, "InfiniBand, 10.1.0.1 on ib0"));
    device.ports[0].state = "port initialising: it waits for a subnet manager";
    CHECK(says(chosen(device).why, "subnet manager"));
}

TEST_CASE("what is asked for is used, also against better judgement", "[verbs][path]")
{
    const auto info = chosen(usual(), "mlx5_0:1:4");
    CHECK(info.gid_index == 4);
    CHECK(says(info.why, "RoCE v1, fd00::1"));
    CHECK(says(info.why, "port and GID were asked for"));
    CHECK(info.addresses == std::vector<std::string>{"fd00::1"});
    CHECK(says(chosen(usual(), "mlx5_0:1").why, "the port was asked for"));
    const auto no_gid = chosen(usual(), "mlx5_0:1:9");
    CHECK(no_gid.port == 0);
    CHECK(no_gid.why == "cannot be used: no GID with index 9");
    const auto no_port = chosen(usual(), "mlx5_0:2");
    CHECK(no_port.port == 0);
    CHECK(no_port.state == "no port 2");
}

TEST_CASE("a device without ports or GIDs says what it lacks", "[verbs][path]")
{
    CHECK(chosen({"none", {}}).state == "no port");
    CHECK(chosen({"none", {port(1, {})}}).state == "no GID");
    CHECK(chosen({"none", {port(1, {})}}).port == 0);
}

TEST_CASE("a wish is a name, a port, an index", "[verbs][path]")
{
    const auto all = parse_path_wish("mlx5_0:2:7").value();
    CHECK(all.name == "mlx5_0");
    CHECK(all.port == 2U);
    CHECK(all.gid_index == 7U);
    CHECK_FALSE(parse_path_wish("mlx5_0").value().port);
    CHECK_FALSE(parse_path_wish("mlx5_0:1").value().gid_index);
    CHECK(parse_path_wish("").value().name.empty());
    for (const auto* bad :
        {"mlx5_0:", "mlx5_0:x", "mlx5_0:0", "mlx5_0:1:", "mlx5_0:1:x", "mlx5_0:1:2:3", ":1", "a:-1"}) {
        INFO(bad);
        CHECK(parse_path_wish(bad).error() == errc::invalid_argument);
    }
}

TEST_CASE("devices are ranked: usable, address, speed, name", "[verbs][path]")
{
    const auto device
        = [](std::string name, std::string_view address, std::uint64_t speed, std::string state = "active") {
              device_report report{std::move(name), {port(1, {gid(0, gid_kind::roce_v2, address)})}};
              report.ports[0].speed = speed;
              report.ports[0].state = std::move(state);
              return chosen(report);
          };
    std::vector<device_info> infos{device("e", "10.0.0.1", 400 * gigabit, "port down"),
        device("d", "fe80::1", 400 * gigabit), device("c", "10.0.0.2", 25 * gigabit),
        device("b", "10.0.0.3", 100 * gigabit), device("a", "10.0.0.4", 25 * gigabit)};
    std::sort(infos.begin(), infos.end(), better);
    std::string order;
    for (const auto& info : infos)
        order += info.name;
    CHECK(order == "bacde");
}
