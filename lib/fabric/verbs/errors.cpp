#include "fabric/verbs/errors.hpp"

#include <cerrno>

namespace penstock::fabric::verbs {

error_code error_from_errno(int errno_value) noexcept
{
    if (errno_value == ENOMEM)
        return errc::no_memory;
    // Some calls fail without setting errno; success must not come out of an error path.
    return make_system_error(errno_value == 0 ? EIO : errno_value);
}

completion_status to_status(ibv_wc_status status) noexcept
{
    switch (status) {
    case IBV_WC_SUCCESS: return completion_status::success;
    case IBV_WC_LOC_LEN_ERR: return completion_status::local_length_error;
    case IBV_WC_LOC_QP_OP_ERR: return completion_status::local_queue_pair_operation_error;
    case IBV_WC_LOC_PROT_ERR: return completion_status::local_protection_error;
    case IBV_WC_WR_FLUSH_ERR: return completion_status::flushed;
    case IBV_WC_MW_BIND_ERR: return completion_status::memory_window_bind_error;
    case IBV_WC_BAD_RESP_ERR: return completion_status::bad_response;
    case IBV_WC_LOC_ACCESS_ERR: return completion_status::local_access_error;
    case IBV_WC_REM_INV_REQ_ERR: return completion_status::remote_invalid_request;
    case IBV_WC_REM_ACCESS_ERR: return completion_status::remote_access_error;
    case IBV_WC_REM_OP_ERR: return completion_status::remote_operation_error;
    case IBV_WC_RETRY_EXC_ERR: return completion_status::transport_retry_exceeded;
    case IBV_WC_RNR_RETRY_EXC_ERR: return completion_status::receiver_not_ready_retry_exceeded;
    case IBV_WC_REM_ABORT_ERR: return completion_status::remote_aborted;
    case IBV_WC_FATAL_ERR: return completion_status::fatal;
    default: return completion_status::general_error;
    }
}

} // namespace penstock::fabric::verbs
