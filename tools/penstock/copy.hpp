#pragma once

// What copying up and copying down have in common.

#include "progress.hpp"
#include "report.hpp"
#include "session.hpp"
#include "store.hpp"

namespace penstock::command {

/// Files being copied at once, and slices of one large file on their way at once.
inline constexpr std::size_t files_at_once = 32;
inline constexpr std::size_t slices_of_a_file = 16;

/// Lives as long as the copy.
struct copy_context {
    session& on;
    store& objects;
    report& done;
    progress_meter& meter;

    /// The longest piece of one request.
    std::size_t piece_bytes() const noexcept { return std::min(on.slice_bytes(), on.properties().transfer_bytes_max); }
};

} // namespace penstock::command
