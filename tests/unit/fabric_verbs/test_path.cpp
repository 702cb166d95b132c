#include "fabric/verbs/path.hpp"
#include "support/catch.hpp"

using namespace penstock::fabric;
using namespace std::chrono_literals;

TEST_CASE("receiver-not-ready delays are rounded up to a code", "[verbs]")
{
    CHECK(verbs::to_rnr_timer(0us) == 1);
    CHECK(verbs::to_rnr_timer(10us) == 1);
    CHECK(verbs::to_rnr_timer(11us) == 2);
    CHECK(verbs::to_rnr_timer(640us) == 12);
    CHECK(verbs::to_rnr_timer(1ms) == 14);
    CHECK(verbs::to_rnr_timer(491'520us) == 31);
    CHECK(verbs::to_rnr_timer(491'521us) == 31); // not 0, which means 655 ms
}

TEST_CASE("acknowledge timeouts are rounded up to a power of two and never off", "[verbs]")
{
    CHECK(verbs::to_acknowledge_timeout(0us) == 1);
    CHECK(verbs::to_acknowledge_timeout(8us) == 1);
    CHECK(verbs::to_acknowledge_timeout(9us) == 2);
    CHECK(verbs::to_acknowledge_timeout(67'108us) == 14);
    CHECK(verbs::to_acknowledge_timeout(10h) == 31);
}

TEST_CASE("a path is applied to the state it belongs to", "[verbs]")
{
    path_options path;
    path.retry_count = 3;
    path.rnr_retry_count = 5;
    path.initiator_depth = 9;
    path.responder_resources = 8;
    path.traffic_class = 0x68;
    ibv_qp_attr attributes{};
    attributes.qp_state = IBV_QPS_RTR;
    attributes.ah_attr.is_global = 1;
    attributes.ah_attr.sl = 2;
    attributes.path_mtu = IBV_MTU_4096;
    CHECK(verbs::apply(path, attributes, IBV_QP_STATE)
        == (IBV_QP_STATE | IBV_QP_MIN_RNR_TIMER | IBV_QP_MAX_DEST_RD_ATOMIC));
    CHECK(attributes.min_rnr_timer == 1);
    CHECK(attributes.max_dest_rd_atomic == 8);
    CHECK(attributes.ah_attr.grh.traffic_class == 0x68);
    CHECK(attributes.ah_attr.sl == 2);
    CHECK(attributes.path_mtu == IBV_MTU_4096);
    path.service_level = 5;
    path.packet_bytes_max = 1'024;
    path.traffic_class.reset();
    verbs::apply(path, attributes, IBV_QP_STATE);
    CHECK(attributes.ah_attr.grh.traffic_class == 0x68);
    CHECK(attributes.ah_attr.sl == 5);
    CHECK(attributes.path_mtu == IBV_MTU_1024);
    attributes.qp_state = IBV_QPS_RTS;
    verbs::apply(path, attributes, IBV_QP_STATE);
    CHECK(attributes.retry_cnt == 3);
    CHECK(attributes.rnr_retry == 5);
    CHECK(attributes.max_rd_atomic == 9);
    CHECK(attributes.timeout == 15);
}

TEST_CASE("what a queue pair was given can be read back", "[verbs]")
{
    path_options path;
    path.retry_count = 3;
    path.rnr_retry_count = 5;
    path.initiator_depth = 9;
    path.responder_resources = 8;
    path.traffic_class = 0x68;
    path.service_level = 4;
    path.packet_bytes_max = 2'048;
    path.rnr_delay = 500us;
    path.acknowledge_timeout = 1ms;
    ibv_qp_attr attributes{};
    attributes.ah_attr.is_global = 1;
    attributes.path_mtu = IBV_MTU_4096;
    for (const auto state : {IBV_QPS_RTR, IBV_QPS_RTS}) {
        attributes.qp_state = state;
        verbs::apply(path, attributes, 0);
    }
    const auto seen = verbs::read(attributes);
    CHECK(seen.retry_count == 3);
    CHECK(seen.rnr_retry_count == 5);
    CHECK(seen.initiator_depth == 9);
    CHECK(seen.responder_resources == 8);
    CHECK(seen.traffic_class == 0x68);
    CHECK(seen.service_level == 4);
    CHECK(seen.packet_bytes_max == 2'048);
    CHECK(seen.rnr_delay == 640us);
    CHECK(seen.acknowledge_timeout == 1'048us);
    attributes.min_rnr_timer = 0;
    CHECK(verbs::read(attributes).rnr_delay == 655'360us);
}

TEST_CASE("a path no device can be told is refused", "[verbs]")
{
    const auto refused = [](auto change, link_layer layer = link_layer::infiniband) {
        path_options path;
        change(path);
        return !verbs::valid(path, layer);
    };
    CHECK_FALSE(refused([](auto&) {}));
    CHECK(refused([](auto& path) { path.retry_count = 8; }));
    CHECK(refused([](auto& path) { path.rnr_retry_count = 8; }));
    CHECK(refused([](auto& path) { path.rnr_delay = 491'521us; }));
    CHECK(refused([](auto& path) { path.rnr_delay = -1us; }));
    CHECK(refused([](auto& path) { path.acknowledge_timeout = -1us; }));
    CHECK(refused([](auto& path) { path.service_level = 16; }));
    CHECK_FALSE(refused([](auto& path) { path.service_level = 15; }));
    CHECK(refused([](auto& path) { path.service_level = 8; }, link_layer::ethernet));
    CHECK(refused([](auto& path) { path.packet_bytes_max = 1'500; }));
    CHECK(refused([](auto& path) { path.packet_bytes_max = 8'192; }));
    CHECK_FALSE(refused([](auto& path) { path.packet_bytes_max = 256; }));
}
