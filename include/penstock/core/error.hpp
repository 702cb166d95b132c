#pragma once

// Errors of the library. They are values on the data path; set-up calls return `result<T>`, whose
// `value()` throws and whose `error()` does not: one function, both styles.
//
// Three categories are in use and none is flattened into another:
//   errc               what this library decided, grouped by who must act
//   completion_status  what a device reported for one work request
//   system category    errno, as the kernel gave it

#include <boost/system/error_code.hpp>
#include <boost/system/result.hpp>
#include <boost/system/system_error.hpp>

#include <cstdint>
#include <string_view>
#include <type_traits>

namespace penstock {

using error_code = boost::system::error_code;
using error_category = boost::system::error_category;
using system_error = boost::system::system_error;

template <class T>
using result = boost::system::result<T, error_code>;

/// Conditions this library raises itself, grouped by who must act.
enum class errc : int {
    // The caller: change the call.
    invalid_argument = 100, ///< an argument contradicts another or the documentation
    out_of_range,           ///< an offset or length lies outside the region or object
    not_supported,          ///< the device lacks the capability
    wrong_state,            ///< the object is in a state in which the call means nothing
    forked,                 ///< the library was initialised in a parent of this process
    cancelled,              ///< cancelled by the caller; the buffers are fenced

    // A local limit: raise it, or ask for less.
    send_queue_full = 200, ///< no free send slot; wait for completions
    receive_queue_full,    ///< no free receive slot
    completion_queue_full, ///< the completion queue has no room for another queue pair
    no_memory,             ///< memory could not be allocated
    registration_refused,  ///< pinning failed, usually because of `ulimit -l`
    too_many_segments,     ///< more scatter/gather segments than the queue pair has
    message_too_long,      ///< longer than the device's message limit
    inline_too_long,       ///< inline data beyond the queue pair's inline limit
    private_data_too_long, ///< connection private data beyond the transport's limit
    region_in_use,         ///< a memory window is still bound to the region
    pool_exhausted,        ///< the registered-memory pool reached its byte limit
    too_many_connections,  ///< the limit on connections is reached
    timed_out,             ///< the deadline passed; the buffers are fenced
    no_device,             ///< no device of the wanted kind on this machine
    registration_budget,   ///< the application's registered memory reached its byte limit
    control_queue_full,    ///< too many blocking calls wait for the control thread

    // The peer: look at the other side.
    refused = 300,          ///< nobody listens there, or the peer rejected the connection
    unreachable,            ///< the peer does not answer
    remote_refused_feature, ///< the peer does not offer what was required
    integrity_error,        ///< the data does not match its checksum
    not_found,              ///< no such object
    already_exists,         ///< the object exists and must not
    permission_denied,      ///< the peer's operating system denied it
    no_space,               ///< the peer's storage is full
    is_directory,           ///< the name is a directory
    not_directory,          ///< a component of the name is not a directory
    outside_root,           ///< the name leads out of the served tree
    name_invalid,           ///< the name is empty, too long, or contains a forbidden component
    remote_io_error,        ///< the peer's storage failed
    changed_underneath,     ///< the object changed while it was being read
    overloaded,             ///< the peer is at its limit; try again later
    exposure_revoked,       ///< the peer took back the memory it had exposed; ask it for another exposure

    // The connection: reconnect.
    connection_closed = 400, ///< closed in order, by either side
    connection_lost,         ///< the peer or the path died
    lane_error,              ///< the lane's queue pair is in ERROR
    fence_failed,            ///< the peer may still reach the buffer: it is quarantined, never handed out again

    // The protocol: the peer does not speak it correctly.
    bad_magic = 500,     ///< the first bytes are not ours
    unsupported_version, ///< no protocol version in common
    malformed_message,   ///< a field contradicts another or its range
    message_too_large,   ///< a length beyond the negotiated limit
    unexpected_message,  ///< not allowed in this state
};

/// How a device ended a work request. The names are those of the InfiniBand specification.
enum class completion_status : int {
    success = 0,
    local_length_error,
    local_queue_pair_operation_error,
    local_protection_error,
    flushed,
    memory_window_bind_error,
    bad_response,
    local_access_error,
    remote_invalid_request,
    remote_access_error,
    remote_operation_error,
    transport_retry_exceeded,
    receiver_not_ready_retry_exceeded,
    remote_aborted,
    fatal,
    general_error,
};

const error_category& penstock_category() noexcept;
const error_category& completion_category() noexcept;

error_code make_error_code(errc e) noexcept;
error_code make_error_code(completion_status s) noexcept;

/// errno as a code of the system category.
error_code make_system_error(int errno_value) noexcept;

/// The status's name as in the specification, e.g. "remote access error".
std::string_view to_string(completion_status s) noexcept;

/// The connection or lane that returned this code cannot be used any more.
bool is_fatal(const error_code& ec) noexcept;

/// The same call may succeed later, unchanged, possibly on another connection.
bool is_retryable(const error_code& ec) noexcept;

} // namespace penstock

namespace boost::system {
template <>
struct is_error_code_enum<penstock::errc> : std::true_type {};
template <>
struct is_error_code_enum<penstock::completion_status> : std::true_type {};
} // namespace boost::system
