#pragma once

// What the verbs libraries report, in the library's words.

#include <penstock/core/error.hpp>

#include <infiniband/verbs.h>

namespace penstock::fabric::verbs {

/// ENOMEM becomes errc::no_memory; everything else stays errno.
error_code error_from_errno(int errno_value) noexcept;

/// An unknown status becomes general_error.
completion_status to_status(ibv_wc_status status) noexcept;

} // namespace penstock::fabric::verbs
