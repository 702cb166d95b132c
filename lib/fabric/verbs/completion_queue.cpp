#include "fabric/verbs/completion_queue.hpp"

#include <penstock/core/fork.hpp>

#include "fabric/verbs/connection.hpp"
#include "fabric/verbs/device.hpp"
#include "fabric/verbs/errors.hpp"
#include "fabric/verbs/provider.hpp"
#include "fabric/verbs/queue_pair.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>

namespace penstock::fabric::verbs {
namespace {

constexpr std::size_t poll_batch = 16;

/// SoftRoCE hands out the kernel's flags, which differ from the library's in this one.
constexpr unsigned soft_roce_with_invalidate = 1U << 2U;

completion_opcode to_opcode(ibv_wc_opcode opcode) noexcept
{
    switch (opcode) {
    case IBV_WC_RDMA_WRITE: return completion_opcode::write;
    case IBV_WC_RDMA_READ: return completion_opcode::read;
    case IBV_WC_COMP_SWAP: return completion_opcode::compare_swap;
    case IBV_WC_FETCH_ADD: return completion_opcode::fetch_add;
    case IBV_WC_BIND_MW: return completion_opcode::bind_window;
    case IBV_WC_LOCAL_INV: return completion_opcode::local_invalidate;
    case IBV_WC_RECV: return completion_opcode::receive;
    case IBV_WC_RECV_RDMA_WITH_IMM: return completion_opcode::receive_write_immediate;
    default: return completion_opcode::send;
    }
}

/// Devices write the length of the others at will.
bool has_byte_count(completion_opcode opcode) noexcept
{
    switch (opcode) {
    case completion_opcode::read:
    case completion_opcode::compare_swap:
    case completion_opcode::fetch_add:
    case completion_opcode::receive:
    case completion_opcode::receive_write_immediate: return true;
    default: return false;
    }
}

std::size_t slot_of(std::uint32_t queue_pair_number, std::size_t slots) noexcept
{
    return (queue_pair_number * 0x9e37'79b1U >> 8U) & (slots - 1);
}

} // namespace

queue_ledger* verbs_completion_queue::ledger_table::find(std::uint32_t queue_pair_number) const noexcept
{
    std::size_t slot = slot_of(queue_pair_number, slots.size());
    while (slots[slot] != nullptr && slots[slot]->queue_pair_number() != queue_pair_number)
        slot = (slot + 1) & (slots.size() - 1);
    return slots[slot];
}

void verbs_completion_queue::ledger_table::insert(queue_ledger& ledger) noexcept
{
    std::size_t slot = slot_of(ledger.queue_pair_number(), slots.size());
    while (slots[slot] != nullptr)
        slot = (slot + 1) & (slots.size() - 1);
    slots[slot] = &ledger;
}

verbs_completion_queue::verbs_completion_queue(verbs_device& device, std::uint32_t depth)
    : device_(device)
    , depth_(depth)
    , invalidated_flags_(IBV_WC_WITH_INV | (device.is_soft_roce() ? soft_roce_with_invalidate : 0U))
{
    publish();
}

result<std::unique_ptr<completion_queue>> verbs_completion_queue::create(verbs_device& device, std::uint32_t depth)
{
    if (depth == 0 || depth > device.limits().completion_queue_depth_max)
        return make_error_code(errc::invalid_argument);
    std::unique_ptr<verbs_completion_queue> made(new verbs_completion_queue(device, depth));
    if (const auto error = made->initialise())
        return error;
    return std::unique_ptr<completion_queue>(std::move(made));
}

error_code verbs_completion_queue::initialise()
{
    channel_ = ibv_create_comp_channel(&device_.context());
    if (channel_ == nullptr)
        return error_from_errno(errno);
    const int flags = ::fcntl(channel_->fd, F_GETFL);
    if (flags < 0 || ::fcntl(channel_->fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return make_system_error(errno);
    queue_ = ibv_create_cq(&device_.context(), static_cast<int>(depth_), nullptr, channel_, 0);
    return queue_ != nullptr ? error_code{} : error_from_errno(errno);
}

verbs_completion_queue::~verbs_completion_queue()
{
    if (core::forked()) {
        if (channel_ != nullptr)
            ::close(channel_->fd);
        return;
    }
    if (queue_ != nullptr) {
        acknowledge();
        if (ibv_destroy_cq(queue_) != 0) {
            device_.owner().log().error("destroying a completion queue failed: queue pairs still use it");
            return; // the channel is in use as well
        }
    }
    if (channel_ != nullptr)
        ibv_destroy_comp_channel(channel_);
}

std::size_t verbs_completion_queue::poll(std::span<work_completion> out)
{
    if (core::forked())
        return 0;
    if (has_retired_.load(std::memory_order_relaxed)) [[unlikely]]
        reclaim();
    std::size_t count = 0;
    std::array<ibv_wc, poll_batch> batch; // filled by the device as far as it is read
    while (count < out.size()) {
        const auto wanted = std::min(batch.size(), out.size() - count);
        const int got = ibv_poll_cq(queue_, static_cast<int>(wanted), batch.data());
        if (got < 0) [[unlikely]] {
            if (!poll_failed_)
                device_.report_completion_queue_error();
            poll_failed_ = true;
            break;
        }
        for (std::size_t i = 0; i < static_cast<std::size_t>(got); ++i)
            take(batch[i], out[count++]);
        if (static_cast<std::size_t>(got) < wanted)
            break;
    }
    return count;
}

void verbs_completion_queue::take(const ibv_wc& from, work_completion& to) noexcept
{
    to = {};
    to.id = from.wr_id;
    to.queue_pair_number = from.qp_num;
    queue_ledger* const ledger = table_.load(std::memory_order_acquire)->find(from.qp_num);
    if (from.status == IBV_WC_SUCCESS) [[likely]] {
        take_success(from, to, ledger);
        return;
    }
    to.status = to_status(from.status);
    to.vendor_error = from.vendor_err;
    if (ledger != nullptr && ledger->request_failed())
        tell_failure(*ledger);
}

/// The connection does not notice by itself: rdma_cm does not know the queue pair.
void verbs_completion_queue::tell_failure(queue_ledger& ledger) noexcept
{
    const std::lock_guard lock(device_.owner().link_mutex());
    if (ledger.pair != nullptr && ledger.pair->user != nullptr)
        ledger.pair->user->pair_broke();
}

void verbs_completion_queue::take_success(const ibv_wc& from, work_completion& to, queue_ledger* ledger) noexcept
{
    to.operation = to_opcode(from.opcode);
    if (has_byte_count(to.operation))
        to.byte_count = from.byte_len;
    if ((from.opcode & IBV_WC_RECV) == 0) {
        if (ledger != nullptr)
            ledger->send_completed();
        return;
    }
    if ((from.wc_flags & IBV_WC_WITH_IMM) != 0) {
        to.has_immediate = true;
        to.immediate_data = ntohl(from.imm_data);
    }
    const bool invalidated = (from.wc_flags & invalidated_flags_) != 0;
    if (invalidated) {
        to.has_invalidated_key = true;
        to.invalidated_key = from.invalidated_rkey;
    }
    if (ledger == nullptr)
        return;
    ledger->receive_completed();
    if (!invalidated)
        return;
    if (window_entry* const window = ledger->windows().find(from.invalidated_rkey))
        ledger->windows().remove(*window);
}

error_code verbs_completion_queue::arm(bool solicited_only)
{
    if (core::forked())
        return make_error_code(errc::forked);
    const int error = ibv_req_notify_cq(queue_, solicited_only ? 1 : 0);
    return error == 0 ? error_code{} : error_from_errno(error);
}

void verbs_completion_queue::acknowledge()
{
    unsigned taken = 0;
    ibv_cq* queue = nullptr;
    void* context = nullptr;
    while (ibv_get_cq_event(channel_, &queue, &context) == 0)
        ++taken;
    if (taken != 0)
        ibv_ack_cq_events(queue_, taken);
}

error_code verbs_completion_queue::reserve(std::uint64_t entries)
{
    const std::lock_guard lock(mutex_);
    if (entries > depth_ - reserved_)
        return errc::completion_queue_full;
    reserved_ += entries;
    return {};
}

void verbs_completion_queue::release(std::uint64_t entries) noexcept
{
    const std::lock_guard lock(mutex_);
    reserved_ -= entries;
}

queue_ledger& verbs_completion_queue::attach(
    std::uint32_t queue_pair_number, std::uint32_t send_depth, std::uint32_t receive_depth)
{
    auto ledger = std::make_unique<queue_ledger>(queue_pair_number, send_depth, receive_depth);
    const std::lock_guard lock(mutex_);
    ledgers_.push_back(std::move(ledger));
    publish();
    return *ledgers_.back();
}

void verbs_completion_queue::detach(queue_ledger& ledger)
{
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(
        ledgers_.begin(), ledgers_.end(), [&](const auto& candidate) { return candidate.get() == &ledger; });
    if (found == ledgers_.end())
        return;
    retired_ledgers_.push_back(std::move(*found));
    *found = std::move(ledgers_.back());
    ledgers_.pop_back();
    publish();
}

void verbs_completion_queue::publish()
{
    auto next = std::make_unique<ledger_table>();
    next->slots.resize(std::max<std::size_t>(4, std::bit_ceil(2 * ledgers_.size() + 1)));
    for (const auto& ledger : ledgers_)
        next->insert(*ledger);
    table_.store(next.get(), std::memory_order_release);
    if (current_ != nullptr)
        retired_tables_.push_back(std::move(current_));
    current_ = std::move(next);
    has_retired_.store(true, std::memory_order_release);
}

void verbs_completion_queue::reclaim()
{
    const std::lock_guard lock(mutex_);
    retired_ledgers_.clear();
    retired_tables_.clear();
    has_retired_.store(false, std::memory_order_relaxed);
}

} // namespace penstock::fabric::verbs
