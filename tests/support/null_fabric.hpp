#pragma once

// A fabric that moves nothing: whatever is posted completes at the next poll, and never fails. What the layers above
// cost is what remains when the device costs nothing. For measurements and for counting allocations.

#include <penstock/fabric/device.hpp>

#include <memory>

namespace penstock::test {

/// One device, "null". Signaled requests complete in the order posted; receives stay posted for ever. Connections are not supported.
/// Allocation: none while posting and polling.
std::unique_ptr<fabric::provider> make_null_provider();

} // namespace penstock::test
