#include "fabric/verbs/path.hpp"

#include <algorithm>
#include <array>

namespace penstock::fabric::verbs {
namespace {

/// Microseconds of the codes 1 to 31, from the InfiniBand specification; code 0 is 655,360 us.
constexpr std::array<std::uint32_t, 31> rnr_delays{10, 20, 30, 40, 60, 80, 120, 160, 240, 320, 480, 640, 960, 1'280,
    1'920, 2'560, 3'840, 5'120, 7'680, 10'240, 15'360, 20'480, 30'720, 40'960, 61'440, 81'920, 122'880, 163'840,
    245'760, 327'680, 491'520};

constexpr unsigned remote_rights = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC;

} // namespace

std::uint8_t to_rnr_timer(std::chrono::microseconds delay) noexcept
{
    const auto found = std::find_if(rnr_delays.begin(), rnr_delays.end(),
        [&](std::uint32_t known) { return std::int64_t{known} >= delay.count(); });
    return found == rnr_delays.end() ? std::uint8_t{0} : static_cast<std::uint8_t>(found - rnr_delays.begin() + 1);
}

std::uint8_t to_acknowledge_timeout(std::chrono::microseconds timeout) noexcept
{
    std::uint8_t exponent = 1;
    while (exponent < 31 && (std::int64_t{4'096} << exponent) / 1'000 < timeout.count())
        ++exponent;
    return exponent;
}

bool valid(const path_options& options) noexcept
{
    return options.retry_count <= 7 && options.rnr_retry_count <= 7 && options.rnr_delay.count() >= 0
        && options.acknowledge_timeout.count() >= 0;
}

int apply(const path_options& options, ibv_qp_attr& attributes, int mask) noexcept
{
    switch (attributes.qp_state) {
    case IBV_QPS_INIT:
        // What a peer may do is decided by regions and windows.
        attributes.qp_access_flags = remote_rights;
        return mask | IBV_QP_ACCESS_FLAGS;
    case IBV_QPS_RTR:
        attributes.min_rnr_timer = to_rnr_timer(options.rnr_delay);
        attributes.max_dest_rd_atomic = options.responder_resources;
        if (attributes.ah_attr.is_global != 0)
            attributes.ah_attr.grh.traffic_class = options.traffic_class;
        return mask | IBV_QP_MIN_RNR_TIMER | IBV_QP_MAX_DEST_RD_ATOMIC;
    case IBV_QPS_RTS:
        attributes.timeout = to_acknowledge_timeout(options.acknowledge_timeout);
        attributes.retry_cnt = options.retry_count;
        attributes.rnr_retry = options.rnr_retry_count;
        attributes.max_rd_atomic = options.initiator_depth;
        return mask | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC;
    default: return mask;
    }
}

} // namespace penstock::fabric::verbs
