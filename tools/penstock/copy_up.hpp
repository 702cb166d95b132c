#pragma once

// Local files to the server.

#include "copy.hpp"
#include "local_file.hpp"
#include "tree_walk.hpp"

namespace penstock::command {

/// Threads: the session's.
class copy_up {
public:
    copy_up(copy_context& context, const put_plan& plan, storage::durability durability) noexcept
        : context_(&context)
        , plan_(&plan)
        , durability_(durability)
    {}

    /// Every file and empty directory of the plan. Errors of one go into the report, the others go on; after the session
    /// has stopped nothing more begins. False when something was left undone because of that.
    awaitable<bool> run();

private:
    struct upload;

    awaitable<void> take_files();
    awaitable<error_code> copy_file(const planned_file& planned);
    awaitable<error_code> copy_large(const source_file& file, const std::string& name);
    awaitable<void> take_pieces(upload& of);

    copy_context* context_;
    const put_plan* plan_;
    storage::durability durability_;
    std::size_t next_file_ = 0;
    bool complete_ = true;
    std::size_t next_directory_ = 0;
};

} // namespace penstock::command
