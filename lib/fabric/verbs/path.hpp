#pragma once

// path_options in the device's units, applied to the attributes a queue pair is brought up with.

#include <penstock/fabric/connection.hpp>

#include <infiniband/verbs.h>

namespace penstock::fabric::verbs {

/// The smallest `min_rnr_timer` code that is at least `delay`.
std::uint8_t to_rnr_timer(std::chrono::microseconds delay) noexcept;

/// The smallest n in 1..31 with 4.096 us * 2^n >= `timeout`. 0 would mean no timeout at all.
std::uint8_t to_acknowledge_timeout(std::chrono::microseconds timeout) noexcept;

bool valid(const path_options& options) noexcept;

/// Sets what `options` decides in the attributes for `attributes.qp_state`, and returns the mask to modify with.
int apply(const path_options& options, ibv_qp_attr& attributes, int mask) noexcept;

} // namespace penstock::fabric::verbs
