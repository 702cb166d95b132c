#pragma once

// Queues of work: queue pairs, shared receive queues, completion queues.
//
// Threads: a queue pair, its shared receive queue and its completion queues belong to one thread at a time (the
// poller's). The exceptions are named at the member.

#include <penstock/fabric/types.hpp>

#include <span>

namespace penstock::fabric {

/// Where finished work is told.
///
/// Ownership: child of a device. Destroy it after the queue pairs that use it.
class completion_queue {
public:
    completion_queue(const completion_queue&) = delete;
    completion_queue& operator=(const completion_queue&) = delete;
    virtual ~completion_queue() = default;

    /// Takes up to `out.size()` completions and returns how many. Never blocks, never allocates.
    /// On transports without capability::passive_target_progress this is also what moves data, for this side's
    /// requests and for the peer's: a side that stops polling stops its peers.
    virtual std::size_t poll(std::span<work_completion> out) = 0;

    /// Makes `descriptor()` readable at the next completion; whether one that is waiting already does so too is the
    /// device's choice. To sleep without losing a completion: arm, poll until empty, then wait on the descriptor.
    virtual error_code arm(bool solicited_only = false) = 0;

    /// Call when `descriptor()` was readable, before polling.
    virtual void acknowledge() = 0;

    /// A descriptor to wait on for readability; it belongs to the queue. On transports without
    /// passive_target_progress it may also be readable when there is progress to make but no completion.
    virtual int descriptor() const noexcept = 0;

    /// Entries it holds at least.
    virtual std::size_t depth() const noexcept = 0;

protected:
    completion_queue() = default;
};

struct shared_receive_queue_options {
    std::uint32_t receive_depth = 256;
    std::uint32_t receive_segments_max = 1;
};

/// Receives shared by many queue pairs of one protection domain.
///
/// Ownership: child of a protection domain. Destroy it after the queue pairs that use it; receives still posted
/// then are gone without a completion.
class shared_receive_queue {
public:
    shared_receive_queue(const shared_receive_queue&) = delete;
    shared_receive_queue& operator=(const shared_receive_queue&) = delete;
    virtual ~shared_receive_queue() = default;

    /// Errors: receive_queue_full, too_many_segments.
    virtual post_result post_receive(std::span<const receive_request> requests) = 0;

protected:
    shared_receive_queue() = default;
};

enum class queue_pair_state : std::uint8_t { init, ready_to_receive, ready_to_send, error };

struct queue_pair_options {
    completion_queue* send_completions = nullptr;
    completion_queue* receive_completions = nullptr; ///< may be the same
    shared_receive_queue* shared_receives = nullptr; ///< null: receives are posted on the queue pair
    std::uint32_t send_depth = 128;                  ///< send requests outstanding at most
    std::uint32_t receive_depth = 128;               ///< ignored with a shared receive queue
    std::uint32_t send_segments_max = 4;
    std::uint32_t receive_segments_max = 1;
    std::uint32_t inline_bytes_max = 0; ///< the queue pair may offer more, see inline_bytes_max()
};

/// A reliable connected queue pair.
///
/// Work on the send queue starts in the order posted and completes in that order. Any failed request moves the
/// queue pair to ERROR; all other requests on both its queues then complete with completion_status::flushed (those
/// on a shared receive queue stay there). A request of the peer that violates access moves both sides to ERROR.
///
/// Ownership: child of a protection domain. Destroy memory windows bound on it first (a device may block for a
/// minute otherwise). The destructor drops what is outstanding: completions already in the completion queue stay.
class queue_pair {
public:
    queue_pair(const queue_pair&) = delete;
    queue_pair& operator=(const queue_pair&) = delete;
    virtual ~queue_pair() = default;

    /// Posts a list in order, with one doorbell.
    /// In ERROR requests are accepted and flushed. Errors, for the first request not posted: wrong_state (before
    /// ready_to_send), send_queue_full, too_many_segments, message_too_long, inline_too_long, invalid_argument
    /// (an atomic that is not 8 bytes at an aligned address; a bind without window or region), not_supported, or
    /// errno.
    /// Bad keys and ranges are not errors of the post: they complete with local_protection_error.
    virtual post_result post_send(std::span<const send_request> requests) = 0;

    /// Errors: receive_queue_full, too_many_segments, wrong_state (it has a shared receive queue).
    virtual post_result post_receive(std::span<const receive_request> requests) = 0;

    /// Moves to ERROR. Everything outstanding is flushed into the completion queues; no byte of the peer's lands
    /// through this queue pair once the flush has been polled.
    virtual error_code move_to_error() = 0;

    virtual queue_pair_state state() const noexcept = 0;
    virtual std::uint32_t number() const noexcept = 0;
    virtual std::uint32_t inline_bytes_max() const noexcept = 0;

protected:
    queue_pair() = default;
};

} // namespace penstock::fabric
