#pragma once

// Work on a lane: chains of requests behind one doorbell, with one completion.
//
// This layer posts work requests, and no other (handshake messages on the control lane apart).

#include <penstock/connection/lane.hpp>
#include <penstock/transfer/operation.hpp>

#include <boost/asio/async_result.hpp>

#include <cstdint>
#include <memory>
#include <span>
#include <utility>

namespace penstock::transfer {

namespace detail {

/// Handlers can be moved but not assigned.
template <class Callback>
[[gnu::noinline]] void give_back(Callback& callback, Callback& kept)
{
    std::destroy_at(&callback);
    std::construct_at(&callback, std::move(kept));
}

} // namespace detail

/// Posts `requests` in order with one doorbell; ids and signals are set here. `callback(error_code)` runs in the poller's turn,
/// once, when the last of them has ended.
///
/// *Completion means* for writes and sends: placed; for reads and atomics: the bytes are here.
/// *Lifetime.* The bytes the segments name belong to the lane until the callback.
/// *Errors.* Returned: invalid_argument (no requests), lane_error, send_queue_full, or what the queue pair says; then `callback` is untouched and nothing was
/// posted. In the callback: the completion_status of the first request that failed.
/// *Threads.* The runtime's executor. *Allocation.* None.
template <class Callback>
error_code submit(connection::lane& on, std::span<fabric::send_request> requests, Callback& callback)
{
    if (requests.empty()) {
        return errc::invalid_argument;
    }
    using operation = chain_operation<Callback>;
    auto& poller = on.owner().poller();
    const auto id = poller.template start<operation>(
        &on, static_cast<std::uint32_t>(requests.size()), std::move(callback), compact_error{});
    if (!id) {
        return id.error();
    }
    const auto error = detail::post_chain(on, requests, *id);
    if (error.failed()) [[unlikely]] {
        detail::give_back(callback, poller.template get<operation>(*id).callback);
        poller.release(*id);
    }
    return error;
}

namespace detail {

/// Apart from the usual way, which is compiled into its callers.
template <class Callback>
[[gnu::noinline]] error_code submit_guarded(connection::lane& on, std::span<fabric::send_request> requests,
    Callback& callback, const operation_options& options)
{
    if (requests.empty()) {
        return errc::invalid_argument;
    }
    auto& poller = on.owner().poller();
    if (options.deadline != time_point_never && options.deadline <= poller.time().now()) {
        return errc::timed_out;
    }
    using operation = guarded_operation<Callback>;
    const auto id = poller.template start<operation>(
        on, static_cast<std::uint32_t>(requests.size()), std::move(callback), options.revoke_grace);
    if (!id) {
        return id.error();
    }
    auto error = poller.template get<operation>(*id).watch(options.deadline);
    if (!error.failed()) {
        error = post_chain(on, requests, *id);
    }
    if (error.failed()) {
        give_back(callback, poller.template get<operation>(*id).unwatch());
        poller.release(*id);
    }
    return error;
}

} // namespace detail

/// The same with a deadline, and with the cancellation slot of `callback.handler`: see operation_options.
///
/// *Errors.* Besides: timed_out returned when the deadline has passed already. In the callback: timed_out, cancelled.
/// *Allocation.* None; Asio keeps the memory of a cancellation slot for the next operation.
template <class Callback>
error_code submit(connection::lane& on, std::span<fabric::send_request> requests, Callback& callback,
    const operation_options& options)
{
    const auto slot = boost::asio::get_associated_cancellation_slot(callback.handler);
    if (options.deadline == time_point_never && !slot.is_connected()) [[likely]] {
        return submit(on, requests, callback);
    }
    return detail::submit_guarded(on, requests, callback, options);
}

namespace detail {

/// What a one-sided operation consists of, before it is a request.
struct one_sided {
    fabric::opcode operation;
    fabric::local_segment local{};
    fabric::remote_segment remote{};
    std::uint32_t immediate_data = 0;
    std::uint64_t compare_add = 0;
    std::uint64_t swap = 0;

    fabric::send_request request(const fabric::local_segment& piece) const noexcept
    {
        fabric::send_request made;
        made.operation = operation;
        made.local = {&piece, 1};
        made.remote = remote;
        made.immediate_data = immediate_data;
        made.compare_add = compare_add;
        made.swap = swap;
        return made;
    }
};

struct start_one {
    connection::lane* on;

    template <class Handler>
    void operator()(Handler&& given, const one_sided& what, const operation_options& options) const
    {
        using handler = stored_handler<handler_callback, std::decay_t<Handler>, void(error_code)>;
        const auto& home = on->owner().executor();
        handler_callback<handler> callback(handler(std::forward<Handler>(given)), home);
        const auto piece = what.local; // apart from the rest, which then need not be in memory
        auto request = what.request(piece);
        if (const auto error = submit(*on, {&request, 1}, callback, options); error.failed()) {
            callback.refused(error);
        }
    }
};

struct start_atomic {
    connection::lane* on;

    template <class Handler>
    void operator()(Handler&& given, one_sided what, const operation_options& options) const
    {
        using handler = stored_handler<value_callback, std::decay_t<Handler>, void(error_code, std::uint64_t)>;
        auto& owner = on->owner();
        const auto word = owner.landing().acquire();
        if (!word) {
            refuse(std::forward<Handler>(given), owner.executor(), word.error(), std::uint64_t{0});
            return;
        }
        what.local = owner.landing().segment(*word, on->device().index);
        value_callback<handler> callback(handler(std::forward<Handler>(given)), owner, *word);
        const auto piece = what.local; // apart from the rest, which then need not be in memory
        auto request = what.request(piece);
        if (const auto error = submit(*on, {&request, 1}, callback, options); error.failed()) {
            callback.refused(error);
        }
    }
};

} // namespace detail

/// Writes local bytes to the peer's memory.
///
/// *Completion signature.* void(error_code). *Completion means* placed.
/// *Lifetime.* The local bytes belong to the lane until the completion, whatever happens.
/// *Errors.* lane_error (the lane has died already); send_queue_full (no room on the lane, or no slot of the poller); timed_out, cancelled; else the
/// completion_status of the request, which costs the lane: remote_access_error (a key that is dead, or a range beyond it),
/// local_protection_error, flushed (the lane died for another reason), ...
/// *Cancellation and deadline.* Terminal cancellation, emitted on the runtime's executor; see operation_options. An operation that is
/// given up ends as timed_out or cancelled also when it succeeds within `revoke_grace`: its bytes may be there.
/// *Threads.* Called on the runtime's executor. The handler runs on its associated executor, else the runtime's, and never inside
/// this call. *Allocation.* None for handlers of up to 100 bytes or so; larger ones: one, by the handler's allocator.
template <class Token>
auto async_write(connection::lane& on, fabric::local_segment from, fabric::remote_segment to,
    const operation_options& options, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code)>(detail::start_one{&on}, token,
        detail::one_sided{.operation = fabric::opcode::write, .local = from, .remote = to}, options);
}

template <class Token>
auto async_write(connection::lane& on, fabric::local_segment from, fabric::remote_segment to, Token&& token)
{
    return async_write(on, from, to, operation_options{}, std::forward<Token>(token));
}

/// Writes, and takes a receive of the peer's, whose completion carries `immediate_data` (to lane::on_immediate): it makes the bytes visible.
/// The rest as for async_write().
template <class Token>
auto async_write_with_immediate(connection::lane& on, fabric::local_segment from, fabric::remote_segment to,
    std::uint32_t immediate_data, const operation_options& options, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code)>(detail::start_one{&on}, token,
        detail::one_sided{.operation = fabric::opcode::write_with_immediate,
            .local = from,
            .remote = to,
            .immediate_data = immediate_data},
        options);
}

template <class Token>
auto async_write_with_immediate(connection::lane& on, fabric::local_segment from, fabric::remote_segment to,
    std::uint32_t immediate_data, Token&& token)
{
    return async_write_with_immediate(on, from, to, immediate_data, operation_options{}, std::forward<Token>(token));
}

/// Reads the peer's memory. *Completion means* the bytes are here. The rest as for async_write().
template <class Token>
auto async_read(connection::lane& on, fabric::local_segment into, fabric::remote_segment from,
    const operation_options& options, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code)>(detail::start_one{&on}, token,
        detail::one_sided{.operation = fabric::opcode::read, .local = into, .remote = from}, options);
}

template <class Token>
auto async_read(connection::lane& on, fabric::local_segment into, fabric::remote_segment from, Token&& token)
{
    return async_read(on, into, from, operation_options{}, std::forward<Token>(token));
}

/// Replaces the peer's 8 bytes at `at`, in the byte order of both, by `desired` if they are `expected`.
///
/// *Completion signature.* void(error_code, std::uint64_t old). It was done if old == expected. *Completion means* done; indivisible
/// against other atomics by the same device of the peer, not against its processor.
/// *Errors.* As for async_write(); besides invalid_argument (`at` is not aligned to 8 bytes), not_supported (the device has no atomics; see
/// fabric::capability), send_queue_full also for more than connection::landing_words::words_max in flight. timed_out or cancelled
/// leaves it open whether it was done.
/// *Cancellation and deadline, threads, allocation* as for async_write().
template <class Token>
auto async_compare_swap(connection::lane& on, fabric::remote_segment at, std::uint64_t expected, std::uint64_t desired,
    const operation_options& options, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code, std::uint64_t)>(detail::start_atomic{&on}, token,
        detail::one_sided{
            .operation = fabric::opcode::compare_swap, .remote = at, .compare_add = expected, .swap = desired},
        options);
}

template <class Token>
auto async_compare_swap(
    connection::lane& on, fabric::remote_segment at, std::uint64_t expected, std::uint64_t desired, Token&& token)
{
    return async_compare_swap(on, at, expected, desired, operation_options{}, std::forward<Token>(token));
}

/// Adds to the peer's 8 bytes at `at`. *Completion signature.* void(error_code, std::uint64_t old). The rest as for async_compare_swap().
template <class Token>
auto async_fetch_add(connection::lane& on, fabric::remote_segment at, std::uint64_t addend,
    const operation_options& options, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code, std::uint64_t)>(detail::start_atomic{&on}, token,
        detail::one_sided{.operation = fabric::opcode::fetch_add, .remote = at, .compare_add = addend}, options);
}

template <class Token>
auto async_fetch_add(connection::lane& on, fabric::remote_segment at, std::uint64_t addend, Token&& token)
{
    return async_fetch_add(on, at, addend, operation_options{}, std::forward<Token>(token));
}

/// Sends a message from registered memory. *Completion means* placed in a receive. The rest as for async_write().
template <class Token>
auto async_send(connection::lane& on, fabric::local_segment message, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code)>(detail::start_one{&on}, token,
        detail::one_sided{.operation = fabric::opcode::send, .local = message}, operation_options{});
}

} // namespace penstock::transfer
