#pragma once

// What a put will do, found out before it starts: which files and directories there are beneath the sources.

#include "naming.hpp"

#include <penstock/core/error.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace penstock::command {

struct planned_file {
    std::string path;       ///< local
    std::string name;       ///< at the server
    std::uint64_t size = 0; ///< when it was looked at: for totals only
};

enum class skip_reason : std::uint8_t {
    symbolic_link,
    link_outside, ///< followed, it would leave the tree
    link_loop,    ///< followed, it would come back to a directory it is in
    link_broken,  ///< followed, it leads nowhere
    special_file, ///< a fifo, socket or device
};

/// "symbolic link", "fifo, socket or device", ...
const char* to_string(skip_reason reason) noexcept;

struct skipped_entry {
    std::string path;
    skip_reason reason{};
};

struct failed_entry {
    std::string path;
    error_code error;
    std::string what; ///< instead of the error's message; may be empty
};

struct put_plan {
    std::vector<planned_file> files;
    std::vector<std::string> empty_directories; ///< at the server; the others come into being with their files
    std::vector<skipped_entry> skipped;
    std::vector<failed_entry> failed;
    std::uint64_t directories = 0;
    std::uint64_t links_skipped = 0;
    std::uint64_t others_skipped = 0;
    std::uint64_t bytes = 0;
};

/// Walks the sources. A source named by the user is followed when it is a symbolic link; links in a tree are skipped, or with
/// `follow` followed when they stay inside that tree. Blocks. Entries are in byte order of their names.
put_plan walk_trees(const std::vector<copy_pair>& sources, bool follow);

} // namespace penstock::command
