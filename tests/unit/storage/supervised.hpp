#pragma once

// Runs an operation whose system calls the test sees one by one and may let fail.
//
// The kernel stops the call (seccomp user notification), the test decides. No file system has to be full or broken, no
// privilege is needed, and nothing depends on timing: while the test decides, the operation stands still.

#include <functional>
#include <span>
#include <string>

namespace penstock::storage::test {

struct system_call {
    int number = 0;   ///< SYS_...
    std::string file; ///< what its first argument, a descriptor, refers to; "" for AT_FDCWD
};

/// 0 lets the call happen, an errno value makes it fail.
using decision = std::function<int(const system_call&)>;

/// Runs `operation` on a thread of its own and asks `decide`, on the caller's, at each call in `numbers`. Throws when the kernel
/// refuses to supervise.
void supervised(std::span<const int> numbers, const decision& decide, const std::function<void()>& operation);

} // namespace penstock::storage::test
