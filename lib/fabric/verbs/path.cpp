#include "fabric/verbs/path.hpp"

#include <algorithm>
#include <array>
#include <bit>

namespace penstock::fabric::verbs {
namespace {

/// Microseconds of the codes 1 to 31, from the InfiniBand specification; code 0 is 655,360 us.
constexpr std::array<std::uint32_t, 31> rnr_delays{10, 20, 30, 40, 60, 80, 120, 160, 240, 320, 480, 640, 960, 1'280,
    1'920, 2'560, 3'840, 5'120, 7'680, 10'240, 15'360, 20'480, 30'720, 40'960, 61'440, 81'920, 122'880, 163'840,
    245'760, 327'680, 491'520};

constexpr std::uint32_t rnr_delay_of_code_0 = 655'360;

constexpr unsigned remote_rights = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC;

} // namespace

std::uint32_t to_bytes(ibv_mtu code) noexcept
{
    return code >= IBV_MTU_256 && code <= IBV_MTU_4096 ? 128U << static_cast<unsigned>(code) : 0U;
}

std::uint8_t to_rnr_timer(std::chrono::microseconds delay) noexcept
{
    const auto found = std::find_if(rnr_delays.begin(), rnr_delays.end(),
        [&](std::uint32_t known) { return std::int64_t{known} >= delay.count(); });
    return static_cast<std::uint8_t>(std::min(found - rnr_delays.begin() + 1, std::ptrdiff_t{rnr_delays.size()}));
}

std::uint8_t to_acknowledge_timeout(std::chrono::microseconds timeout) noexcept
{
    std::uint8_t exponent = 1;
    while (exponent < 31 && (std::int64_t{4'096} << exponent) / 1'000 < timeout.count())
        ++exponent;
    return exponent;
}

bool valid(const path_options& options, link_layer layer) noexcept
{
    const int service_level_max = layer == link_layer::ethernet ? 7 : 15;
    const bool known_size = options.packet_bytes_max == 0
        || (options.packet_bytes_max >= 256 && options.packet_bytes_max <= 4'096
            && std::has_single_bit(options.packet_bytes_max));
    return options.retry_count <= 7 && options.rnr_retry_count <= 7 && options.rnr_delay.count() >= 0
        && options.rnr_delay.count() <= std::int64_t{rnr_delays.back()} && options.acknowledge_timeout.count() >= 0
        && options.service_level.value_or(0) <= service_level_max && known_size;
}

path_options read(const ibv_qp_attr& attributes) noexcept
{
    path_options path;
    path.retry_count = attributes.retry_cnt;
    path.rnr_retry_count = attributes.rnr_retry;
    path.rnr_delay = std::chrono::microseconds(
        attributes.min_rnr_timer == 0 ? rnr_delay_of_code_0 : rnr_delays[(attributes.min_rnr_timer - 1U) % 31U]);
    path.acknowledge_timeout = std::chrono::microseconds((std::int64_t{4'096} << attributes.timeout) / 1'000);
    path.initiator_depth = attributes.max_rd_atomic;
    path.responder_resources = attributes.max_dest_rd_atomic;
    if (attributes.ah_attr.is_global != 0)
        path.traffic_class = attributes.ah_attr.grh.traffic_class;
    path.service_level = attributes.ah_attr.sl;
    path.packet_bytes_max = to_bytes(attributes.path_mtu);
    return path;
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
            attributes.ah_attr.grh.traffic_class = options.traffic_class.value_or(attributes.ah_attr.grh.traffic_class);
        attributes.ah_attr.sl = options.service_level.value_or(attributes.ah_attr.sl);
        while (options.packet_bytes_max != 0 && to_bytes(attributes.path_mtu) > options.packet_bytes_max)
            attributes.path_mtu = static_cast<ibv_mtu>(attributes.path_mtu - 1);
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
