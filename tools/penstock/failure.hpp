#pragma once

// How the command ends, and what it says then: one line for people that says what to do, one number for programs.

#include <penstock/core/error.hpp>
#include <penstock/storage/object.hpp>
#include <penstock/storage/uri.hpp>

#include <stdexcept>
#include <string>
#include <string_view>

namespace penstock::command {

/// Documented in docs/command.md.
enum class exit_status : int {
    success = 0,
    failed = 1,          ///< something asked for did not happen; the rest did
    usage = 2,           ///< the arguments make no sense: nothing was tried
    no_connection = 3,   ///< the server could not be reached, or what answers is none
    connection_lost = 4, ///< the server or the path to it died in the middle
    no_rdma = 5,         ///< RDMA was required and is not available
    interrupted = 130,   ///< SIGINT
    terminated = 143,    ///< SIGTERM
};

/// Ends the command. The message is one line without the program's name.
class failure : public std::runtime_error {
public:
    failure(exit_status status, const std::string& message)
        : std::runtime_error(message)
        , status_(status)
    {}

    exit_status status() const noexcept { return status_; }

private:
    exit_status status_;
};

/// The code's message, as part of a line.
std::string explain(const error_code& ec);

/// What to say, and to return, when `where` could not be opened. `rdma_reason`: why this machine has no RDMA device.
failure open_failure(const storage::uri& where, const error_code& ec, std::string_view rdma_reason);

/// HOST:PORT, for messages.
std::string server_name(const storage::uri& where);

/// A name fit for one line of text: control characters and '\' as escapes ("\n", "\x1b", "\\").
std::string printable(std::string_view name);

/// Parses, or throws usage.
storage::uri require_uri(std::string_view text);

} // namespace penstock::command
