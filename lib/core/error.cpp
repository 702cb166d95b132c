#include <penstock/core/error.hpp>

#include <string>

namespace penstock {
namespace {

const char* text(errc e) noexcept
{
    switch (e) {
    case errc::invalid_argument: return "invalid argument";
    case errc::out_of_range: return "offset or length out of range";
    case errc::not_supported: return "not supported by this device";
    case errc::wrong_state: return "not possible in this state";
    case errc::forked: return "used in a forked child: open the library after fork()";
    case errc::cancelled: return "cancelled";
    case errc::send_queue_full: return "send queue full: wait for completions or raise its depth";
    case errc::receive_queue_full: return "receive queue full: raise its depth";
    case errc::completion_queue_full: return "completion queue full: raise its depth or use another poller";
    case errc::no_memory: return "out of memory";
    case errc::registration_refused: return "memory registration refused: raise `ulimit -l` (locked memory)";
    case errc::too_many_segments: return "too many scatter/gather segments for this queue pair";
    case errc::message_too_long: return "message longer than the device allows";
    case errc::inline_too_long: return "inline data longer than the queue pair allows";
    case errc::private_data_too_long: return "private data longer than the transport allows";
    case errc::region_in_use: return "memory region has bound windows: invalidate or deallocate them first";
    case errc::pool_exhausted: return "registered-memory pool exhausted: raise its limit or release buffers";
    case errc::too_many_connections: return "connection limit reached";
    case errc::timed_out: return "timed out";
    case errc::no_device: return "no RDMA device on this machine: check `rdma link`, or use --transport tcp";
    case errc::registration_budget:
        return "the application's registered memory reached its limit: raise it or release registrations";
    case errc::control_queue_full: return "too many blocking calls wait: wait for their completions";
    case errc::refused: return "connection refused: is the server running there?";
    case errc::unreachable: return "peer unreachable: check the address and the network";
    case errc::remote_refused_feature: return "the peer does not offer a required feature";
    case errc::integrity_error: return "checksum mismatch: the data is not what was stored";
    case errc::not_found: return "no such object";
    case errc::already_exists: return "object exists already";
    case errc::permission_denied: return "permission denied at the server";
    case errc::no_space: return "no space left at the server";
    case errc::is_directory: return "is a directory";
    case errc::not_directory: return "a component of the name is not a directory";
    case errc::outside_root: return "the name leads out of the served tree";
    case errc::name_invalid: return "invalid object name";
    case errc::remote_io_error: return "input/output error at the server";
    case errc::changed_underneath: return "the object changed while it was being read: read it again";
    case errc::overloaded: return "the peer is overloaded: try again later";
    case errc::exposure_revoked: return "the peer revoked this exposure: ask it for another";
    case errc::connection_closed: return "connection closed";
    case errc::connection_lost: return "connection lost: the peer or the path to it died";
    case errc::lane_error: return "lane is in the error state";
    case errc::fence_failed: return "the peer may still reach the buffer, which is quarantined: reconnect";
    case errc::bad_magic: return "not a penstock peer (wrong magic)";
    case errc::unsupported_version: return "no protocol version in common: upgrade the older side";
    case errc::malformed_message: return "malformed message from the peer";
    case errc::message_too_large: return "message from the peer exceeds the agreed limit";
    case errc::unexpected_message: return "message from the peer is not allowed in this state";
    }
    return "unknown penstock error";
}

class library_category final : public error_category {
public:
    const char* name() const noexcept override { return "penstock"; }
    std::string message(int value) const override { return text(static_cast<errc>(value)); }
};

class status_category final : public error_category {
public:
    const char* name() const noexcept override { return "penstock.completion"; }
    std::string message(int value) const override
    {
        return std::string(to_string(static_cast<completion_status>(value)));
    }
};

} // namespace

const error_category& penstock_category() noexcept
{
    static const library_category instance;
    return instance;
}

const error_category& completion_category() noexcept
{
    static const status_category instance;
    return instance;
}

error_code make_error_code(errc e) noexcept
{
    return {static_cast<int>(e), penstock_category()};
}

error_code make_error_code(completion_status s) noexcept
{
    return {static_cast<int>(s), completion_category()};
}

error_code make_system_error(int errno_value) noexcept
{
    return {errno_value, boost::system::system_category()};
}

std::string_view to_string(completion_status s) noexcept
{
    switch (s) {
    case completion_status::success: return "success";
    case completion_status::local_length_error: return "local length error";
    case completion_status::local_queue_pair_operation_error: return "local queue pair operation error";
    case completion_status::local_protection_error: return "local protection error";
    case completion_status::flushed: return "work request flushed";
    case completion_status::memory_window_bind_error: return "memory window bind error";
    case completion_status::bad_response: return "bad response";
    case completion_status::local_access_error: return "local access error";
    case completion_status::remote_invalid_request: return "remote invalid request error";
    case completion_status::remote_access_error: return "remote access error";
    case completion_status::remote_operation_error: return "remote operation error";
    case completion_status::transport_retry_exceeded: return "transport retry counter exceeded";
    case completion_status::receiver_not_ready_retry_exceeded: return "receiver not ready retry counter exceeded";
    case completion_status::remote_aborted: return "remote aborted error";
    case completion_status::fatal: return "fatal error";
    case completion_status::general_error: return "general error";
    }
    return "unknown completion status";
}

bool is_fatal(const error_code& ec) noexcept
{
    if (ec.category() == completion_category())
        return ec.failed();
    if (ec.category() != penstock_category())
        return false;
    const int group = ec.value() / 100;
    return group == 4 || group == 5;
}

bool is_retryable(const error_code& ec) noexcept
{
    if (ec.category() == completion_category()) {
        switch (static_cast<completion_status>(ec.value())) {
        case completion_status::flushed:
        case completion_status::transport_retry_exceeded:
        case completion_status::receiver_not_ready_retry_exceeded: return true;
        default: return false;
        }
    }
    if (ec.category() != penstock_category())
        return false;
    switch (static_cast<errc>(ec.value())) {
    case errc::send_queue_full:
    case errc::pool_exhausted:
    case errc::registration_budget:
    case errc::control_queue_full:
    case errc::too_many_connections:
    case errc::timed_out:
    case errc::refused:
    case errc::unreachable:
    case errc::changed_underneath:
    case errc::overloaded:
    case errc::connection_closed:
    case errc::connection_lost:
    case errc::lane_error: return true;
    default: return false;
    }
}

} // namespace penstock
