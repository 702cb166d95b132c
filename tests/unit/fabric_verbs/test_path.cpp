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
    CHECK(verbs::to_rnr_timer(491'521us) == 0);
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
    CHECK(verbs::apply(path, attributes, IBV_QP_STATE)
        == (IBV_QP_STATE | IBV_QP_MIN_RNR_TIMER | IBV_QP_MAX_DEST_RD_ATOMIC));
    CHECK(attributes.min_rnr_timer == 1);
    CHECK(attributes.max_dest_rd_atomic == 8);
    CHECK(attributes.ah_attr.grh.traffic_class == 0x68);
    attributes.qp_state = IBV_QPS_RTS;
    verbs::apply(path, attributes, IBV_QP_STATE);
    CHECK(attributes.retry_cnt == 3);
    CHECK(attributes.rnr_retry == 5);
    CHECK(attributes.max_rd_atomic == 9);
    CHECK(attributes.timeout == 15);
    path.retry_count = 8;
    CHECK_FALSE(verbs::valid(path));
}
