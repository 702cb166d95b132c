#pragma once

// path_options in the device's units, applied to the attributes a queue pair is brought up with.

#include <penstock/fabric/device.hpp>

#include <infiniband/verbs.h>

namespace penstock::fabric::verbs {

/// Bytes of payload in a packet; 0 where the device reports none.
std::uint32_t to_bytes(ibv_mtu code) noexcept;

/// The smallest `min_rnr_timer` code that is at least `delay`, and never 0: that would be 655 ms, the longest of all.
std::uint8_t to_rnr_timer(std::chrono::microseconds delay) noexcept;

/// The smallest n in 1..31 with 4.096 us * 2^n >= `timeout`. 0 would mean no timeout at all.
std::uint8_t to_acknowledge_timeout(std::chrono::microseconds timeout) noexcept;

/// Fits what a device can be told.
bool valid(const path_options& options, link_layer layer) noexcept;

/// The other way: what a queue pair of these attributes (RTS) was given.
path_options read(const ibv_qp_attr& attributes) noexcept;

/// Sets what `options` decides in the attributes for `attributes.qp_state`, and returns the mask to modify with.
int apply(const path_options& options, ibv_qp_attr& attributes, int mask) noexcept;

} // namespace penstock::fabric::verbs
