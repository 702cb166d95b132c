#include "fabric/verbs/post_send.hpp"

#include <penstock/core/fork.hpp>

#include "fabric/verbs/device.hpp"
#include "fabric/verbs/errors.hpp"
#include "fabric/verbs/memory.hpp"
#include "fabric/verbs/queue_pair.hpp"

#include <arpa/inet.h>

#include <cerrno>
#include <cstring>

namespace penstock::fabric::verbs {
namespace {

constexpr std::uint32_t no_object_key = 0; ///< no device gives a region or window this key

ibv_wr_opcode to_native(opcode operation) noexcept
{
    switch (operation) {
    case opcode::send: return IBV_WR_SEND;
    case opcode::send_with_immediate: return IBV_WR_SEND_WITH_IMM;
    case opcode::send_with_invalidate: return IBV_WR_SEND_WITH_INV;
    case opcode::write: return IBV_WR_RDMA_WRITE;
    case opcode::write_with_immediate: return IBV_WR_RDMA_WRITE_WITH_IMM;
    case opcode::read: return IBV_WR_RDMA_READ;
    case opcode::compare_swap: return IBV_WR_ATOMIC_CMP_AND_SWP;
    case opcode::fetch_add: return IBV_WR_ATOMIC_FETCH_AND_ADD;
    case opcode::bind_window: return IBV_WR_BIND_MW;
    case opcode::local_invalidate: return IBV_WR_LOCAL_INV;
    }
    return IBV_WR_SEND;
}

bool is_atomic(opcode operation) noexcept
{
    return operation == opcode::compare_swap || operation == opcode::fetch_add;
}

bool can_be_inline(opcode operation) noexcept
{
    switch (operation) {
    case opcode::send:
    case opcode::send_with_immediate:
    case opcode::send_with_invalidate:
    case opcode::write:
    case opcode::write_with_immediate: return true;
    default: return false;
    }
}

bool is_window_request(opcode operation) noexcept
{
    return operation == opcode::bind_window || operation == opcode::local_invalidate;
}

std::uint64_t length_of(std::span<const local_segment> segments) noexcept
{
    std::uint64_t length = 0;
    for (const local_segment& segment : segments)
        length += segment.length;
    return length;
}

unsigned flags_of(const send_request& request) noexcept
{
    unsigned flags = 0;
    if (request.signaled)
        flags |= IBV_SEND_SIGNALED;
    if (request.solicited)
        flags |= IBV_SEND_SOLICITED;
    if (request.fence)
        flags |= IBV_SEND_FENCE;
    if (request.inline_data && can_be_inline(request.operation))
        flags |= IBV_SEND_INLINE;
    return flags;
}

verbs_memory_window* native(memory_window* window) noexcept
{
    return static_cast<verbs_memory_window*>(window);
}
verbs_memory_region* native(memory_region* region) noexcept
{
    return static_cast<verbs_memory_region*>(region);
}

} // namespace

/// Why the device never sees the request.
error_code verbs_queue_pair::refusal(const send_request& request) const noexcept
{
    const capabilities supported = device_.supports();
    if (request.operation == opcode::bind_window) {
        if (!supported.has(capability::memory_windows))
            return errc::not_supported;
        const bool usable = request.bind.window != nullptr && request.bind.region != nullptr && request.bind.length != 0
            && native(request.bind.window)->native() != nullptr && native(request.bind.region)->native() != nullptr;
        return usable ? error_code{} : make_error_code(errc::invalid_argument);
    }
    if (request.operation == opcode::local_invalidate)
        return supported.has(capability::memory_windows) ? error_code{} : make_error_code(errc::not_supported);
    if (request.operation == opcode::send_with_invalidate && !supported.has(capability::send_with_invalidate))
        return errc::not_supported;
    if (request.local.size() > options_.send_segments_max)
        return errc::too_many_segments;
    const auto length = length_of(request.local);
    if (is_atomic(request.operation)) {
        if (!supported.has(capability::atomics))
            return errc::not_supported;
        return length == 8 && request.remote.address % 8 == 0 ? error_code{} : make_error_code(errc::invalid_argument);
    }
    if (length > device_.limits().message_bytes_max)
        return errc::message_too_long;
    if (request.inline_data && can_be_inline(request.operation) && length > inline_bytes_max_)
        return errc::inline_too_long;
    return {};
}

/// Bookkeeping of windows runs ahead of the device and is taken back by `settle` for what was not posted.
void verbs_queue_pair::append_window_request(const send_request& request, send_batch& batch, std::size_t index) noexcept
{
    ibv_send_wr& out = batch.requests[index];
    window_table& table = receives_->windows();
    if (request.operation == opcode::local_invalidate) {
        auto* const window = static_cast<verbs_memory_window*>(table.find(request.invalidate_key));
        out.invalidate_rkey = request.invalidate_key;
        if (window != nullptr) {
            batch.windows[index] = window;
            table.remove(*window);
        } else if (!device_.supports().has(capability::window_reinvalidate_safe)) {
            out.invalidate_rkey = no_object_key;
        }
        return;
    }
    out.imm_data = 0; // some providers refuse the bind otherwise
    verbs_memory_window& window = *native(request.bind.window);
    verbs_memory_region& region = *native(request.bind.region);
    batch.windows[index] = &window;
    out.bind_mw.mw = window.native();
    out.bind_mw.rkey = window.next_key();
    out.bind_mw.bind_info.mr = region.native();
    out.bind_mw.bind_info.addr = reinterpret_cast<std::uintptr_t>(request.bind.address);
    out.bind_mw.bind_info.length = request.bind.length;
    // SoftRoCE binds across protection domains; beyond the region it does not.
    if (device_.is_soft_roce() && region.native()->pd != pair_->pd)
        out.bind_mw.bind_info.length = region.bytes().size() + 1;
    out.bind_mw.bind_info.mw_access_flags = static_cast<unsigned>(verbs::to_native(request.bind.rights));
    // A window that is bound already keeps its entry: the device fails the request.
    if (window.table == nullptr)
        table.insert(window, window.next_key(), region.windows());
}

void verbs_queue_pair::append(const send_request& request, send_batch& batch) noexcept
{
    const std::size_t index = batch.count++;
    ibv_send_wr& out = batch.requests[index];
    out.wr_id = request.id;
    out.next = nullptr;
    out.opcode = to_native(request.operation);
    out.send_flags = flags_of(request);
    out.sg_list = batch.segments.data() + batch.segments_used;
    out.num_sge = 0;
    batch.windows[index] = nullptr;
    if (is_window_request(request.operation)) {
        append_window_request(request, batch, index);
        return;
    }
    for (const local_segment& segment : request.local) {
        if (segment.length == 0)
            continue;
        batch.segments[batch.segments_used++]
            = {reinterpret_cast<std::uintptr_t>(segment.address), segment.length, segment.lkey};
        ++out.num_sge;
    }
    if (request.operation == opcode::send_with_invalidate)
        out.invalidate_rkey = request.invalidate_key;
    else
        out.imm_data = htonl(request.immediate_data);
    if (is_atomic(request.operation)) {
        out.wr.atomic.remote_addr = request.remote.address;
        out.wr.atomic.compare_add = request.compare_add;
        out.wr.atomic.swap = request.swap;
        out.wr.atomic.rkey = request.remote.rkey;
    } else {
        out.wr.rdma.remote_addr = request.remote.address;
        out.wr.rdma.rkey = request.remote.rkey;
    }
}

/// The first `posted` requests of the batch are on the send queue, the others are not.
void verbs_queue_pair::settle(send_batch& batch, std::size_t posted) noexcept
{
    for (std::size_t i = 0; i < posted; ++i) {
        const ibv_send_wr& request = batch.requests[i];
        sends_->send_posted((request.send_flags & IBV_SEND_SIGNALED) != 0);
        if (batch.windows[i] != nullptr && request.opcode == IBV_WR_BIND_MW)
            batch.windows[i]->bind_posted();
    }
    for (std::size_t i = batch.count; i-- > posted;) {
        verbs_memory_window* const window = batch.windows[i];
        if (window == nullptr)
            continue;
        window_table& table = receives_->windows();
        if (batch.requests[i].opcode == IBV_WR_BIND_MW) {
            if (window->table == &table && window->bound_key == window->next_key())
                table.remove(*window);
        } else {
            table.insert(*window, batch.requests[i].invalidate_rkey, *window->last_holders);
        }
    }
    batch.count = 0;
    batch.segments_used = 0;
}

error_code verbs_queue_pair::flush(send_batch& batch, std::size_t& posted) noexcept
{
    if (batch.count == 0)
        return {};
    for (std::size_t i = 0; i + 1 < batch.count; ++i)
        batch.requests[i].next = &batch.requests[i + 1];
    ibv_send_wr* bad = nullptr;
    const int error = ibv_post_send(pair_, batch.requests.data(), &bad);
    std::size_t done = batch.count;
    if (error != 0)
        done = bad != nullptr ? static_cast<std::size_t>(bad - batch.requests.data()) : 0;
    settle(batch, done);
    posted += done;
    if (error == 0)
        return {};
    return error == ENOMEM ? make_error_code(errc::send_queue_full) : make_system_error(error);
}

post_result verbs_queue_pair::post_send(std::span<const send_request> requests)
{
    if (core::forked())
        return {0, errc::forked};
    if (state_.load(std::memory_order_acquire) < queue_pair_state::ready_to_send)
        return {0, errc::wrong_state};
    send_batch batch;
    post_result result;
    for (const send_request& request : requests) {
        if (const auto error = refusal(request)) {
            result.error = error;
            break;
        }
        // The device reads a window's present key while it posts: two binds of one window need two posts.
        const bool rebinds = request.operation == opcode::bind_window && batch.binds(native(request.bind.window));
        if (!batch.has_room(request) || rebinds)
            if (const auto error = flush(batch, result.posted)) {
                result.error = error;
                break;
            }
        if (batch.count >= sends_->send_room()) {
            result.error = errc::send_queue_full;
            break;
        }
        append(request, batch);
    }
    if (const auto error = flush(batch, result.posted))
        result.error = error;
    if (result.posted != 0)
        flush_on_soft_roce();
    return result;
}

} // namespace penstock::fabric::verbs
