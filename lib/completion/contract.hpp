#pragma once

// Rules of ownership whose breach cannot be an error code: there is nobody left to take it. Never on the data path.

#include <cstdio>
#include <cstdlib>

namespace penstock::completion {

/// Ends the program with the rule on standard error, in every build, when it does not hold.
inline void require(bool holds, const char* rule) noexcept
{
    if (!holds) [[unlikely]] {
        (void)std::fprintf(stderr, "penstock: %s\n", rule);
        std::abort();
    }
}

} // namespace penstock::completion
