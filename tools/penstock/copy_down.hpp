#pragma once

// The server's files to local ones.

#include "copy.hpp"
#include "local_file.hpp"
#include "naming.hpp"

namespace penstock::command {

struct planned_object {
    std::string name;  ///< at the server
    std::string local; ///< beneath the destination; "" is the destination itself
    storage::object_info info;
};

struct get_plan {
    std::vector<planned_object> files;
    std::vector<planned_object> directories; ///< each after the one it is in
    std::uint64_t bytes = 0;
};

/// Entries of one get at most: what a server can make a client remember.
inline constexpr std::size_t planned_entries_max = 20'000'000;

/// Finds out what there is. What cannot be listed goes into the report.
awaitable<get_plan> plan_get(copy_context& context, const std::vector<copy_pair>& pairs);

/// Threads: the session's.
class copy_down {
public:
    /// `root`: the destination directory, open.
    copy_down(copy_context& context, const get_plan& plan, int root) noexcept
        : context_(&context)
        , plan_(&plan)
        , root_(root)
    {}

    /// Every file and directory of the plan. Errors of one go into the report, the others go on; after the session has
    /// stopped nothing more begins. False when something was left undone because of that.
    awaitable<bool> run();

private:
    struct download;

    awaitable<void> make_directories();
    awaitable<void> take_files();
    awaitable<error_code> copy_file(const planned_object& planned);
    awaitable<error_code> copy_large(download& of);
    awaitable<void> take_pieces(download& of);

    copy_context* context_;
    const get_plan* plan_;
    int root_;
    std::size_t next_file_ = 0;
    bool complete_ = true;
    std::vector<const planned_object*> made_; // directories that were not there before
};

} // namespace penstock::command
