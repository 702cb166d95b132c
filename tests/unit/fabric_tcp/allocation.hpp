#pragma once

#include <cstdint>

namespace penstock::test {

/// Heap allocations of this thread since it started.
std::uint64_t allocations() noexcept;

} // namespace penstock::test
