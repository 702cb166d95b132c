#pragma once

// One-sided work on memory that the peer exposed: the operations of transfer.hpp, over a connection instead of a lane.

#include <penstock/transfer/traffic.hpp>
#include <penstock/transfer/transfer.hpp>

#include <boost/asio/async_result.hpp>

#include <cstdint>
#include <utility>

namespace penstock::transfer {

namespace detail {

/// Ends the use of the exposure before the handler is called.
template <class Callback>
struct counted : Callback {
    boost::intrusive_ptr<traffic> of;
    std::uint64_t id;

    counted(Callback&& inner, traffic& work, std::uint64_t exposure)
        : Callback(std::move(inner))
        , of(&work)
        , id(exposure)
    {}
    void operator()(error_code error)
    {
        of->end_use(id);
        Callback::operator()(error);
    }
    void refused(error_code error)
    {
        of->end_use(id);
        Callback::refused(error);
    }
};

template <class Handler>
using counted_callback = counted<handler_callback<Handler>>;
template <class Handler>
using counted_value_callback = counted<value_callback<Handler>>;

/// Posts the one request that `callback` waits for, on a lane that has room; what is refused is told from a later turn.
template <class Callback>
void start_counted(connection::lane& on, Callback&& callback, const one_sided& what, const operation_options& options)
{
    const auto piece = what.local;
    auto request = what.request(piece);
    if (const auto error = submit(on, {&request, 1}, callback, options); error.failed()) {
        callback.refused(error);
    }
}

struct start_remote {
    connection::connection* over;

    template <class Handler>
    void operator()(Handler&& given, const extent& what, const operation_options& options) const
    {
        const auto& home = over->owner().executor();
        auto& work = traffic::of(*over);
        if (const auto wrong = what.check(); wrong.failed()) {
            refuse(std::forward<Handler>(given), home, wrong);
            return;
        }
        const auto chosen = work.choose(what.remote);
        if (chosen.on == nullptr || chosen.on->send_room() == 0 || work.somebody_waits()
            || !is_short(*chosen.on, what.local, options)) {
            flow::handler_type handler(std::forward<Handler>(given));
            work.acquire_single().begin(what, std::move(handler), options);
            return;
        }
        if (const auto refused = work.begin_use(what.remote); refused.failed()) {
            refuse(std::forward<Handler>(given), home, refused);
            return;
        }
        using handler = stored_handler<counted_callback, std::decay_t<Handler>, void(error_code)>;
        counted_callback<handler> callback(
            handler_callback<handler>(handler(std::forward<Handler>(given)), home), work, what.remote.id());
        start_counted(*chosen.on, std::move(callback),
            {.operation = what.operation,
                .local = what.local.segment(chosen.on->device().index),
                .remote = {what.remote.address(), chosen.rkey}},
            options);
    }

    bool is_short(
        connection::lane& on, const memory::local_buffer& local, const operation_options& options) const noexcept
    {
        const auto bytes = local.size();
        return (bytes <= options.stripe_bytes || over->lane_count() == 1) && bytes <= flow::piece_bytes_max
            && bytes <= on.device().device->limits().message_bytes_max && bytes == local.region_bytes();
    }
};

} // namespace detail

/// Reads the beginning of the peer's memory into all of `into`.
///
/// It goes by the live lane with the most room among those `from` has a key for; longer than operation_options::stripe_bytes, by all of them,
/// in pieces; longer than a device's message, in several requests. Without room on the lanes it waits for it, first come, first
/// served.
/// *Completion signature.* void(error_code). *Completion means* the bytes are here.
/// *Lifetime.* `into` belongs to the library until the completion, whatever happens; the connection may be destroyed before.
/// *Errors.* out_of_range (`from` is shorter), invalid_argument (it does not grant that), exposure_revoked (by the peer, or with the
/// connection's epoch), lane_error (no live lane has a key), what the connection died of, send_queue_full (too many wait: traffic::waiting_max; or
/// no slot of the poller), connection_closed (destroyed while it waited), timed_out, cancelled; else the completion_status of the first
/// request that failed, see async_write(lane).
/// *Cancellation and deadline.* See operation_options. What waits is not posted any more and ends at once.
/// *Threads.* Called on the runtime's executor. The handler runs on its associated executor, else the runtime's, and never inside
/// this call. *Allocation.* None when it is a single request; else that of any_completion_handler, by the handler's allocator.
template <class Token>
auto async_read(connection::connection& over, const memory::local_buffer& into, const remote_buffer& from,
    const operation_options& options, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code)>(
        detail::start_remote{&over}, token, extent{fabric::opcode::read, into, from, {}}, options);
}

template <class Token>
auto async_read(
    connection::connection& over, const memory::local_buffer& into, const remote_buffer& from, Token&& token)
{
    return async_read(over, into, from, operation_options{}, std::forward<Token>(token));
}

/// Writes all of `from` to the beginning of the peer's memory. *Completion means* placed. The rest as for async_read(); nothing orders the pieces
/// of a long one.
template <class Token>
auto async_write(connection::connection& over, const memory::local_buffer& from, const remote_buffer& to,
    const operation_options& options, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code)>(
        detail::start_remote{&over}, token, extent{fabric::opcode::write, from, to, {}}, options);
}

template <class Token>
auto async_write(connection::connection& over, const memory::local_buffer& from, const remote_buffer& to, Token&& token)
{
    return async_write(over, from, to, operation_options{}, std::forward<Token>(token));
}

namespace detail {

/// Operations that are one request on one lane by their nature, and do not wait for room.
struct single_request {
    fabric::opcode operation;
    memory::local_buffer local{};
    remote_buffer remote{};
    std::uint32_t immediate_data = 0;
    std::uint64_t compare_add = 0;
    std::uint64_t swap = 0;

    error_code check() const noexcept;
    one_sided on(std::size_t device_index, std::uint32_t rkey) const noexcept
    {
        return {.operation = operation,
            .local = local.segment(device_index),
            .remote = {remote.address(), rkey},
            .immediate_data = immediate_data,
            .compare_add = compare_add,
            .swap = swap};
    }
    /// A lane, and the use of the exposure begun. Errors: those of the operation that are known before posting.
    result<traffic::choice> claim(traffic& work) const noexcept;
};

struct start_immediate {
    connection::connection* over;

    template <class Handler>
    void operator()(Handler&& given, const single_request& what, const operation_options& options) const
    {
        const auto& home = over->owner().executor();
        auto& work = traffic::of(*over);
        const auto chosen = what.claim(work);
        if (!chosen) {
            refuse(std::forward<Handler>(given), home, chosen.error());
            return;
        }
        using handler = stored_handler<counted_callback, std::decay_t<Handler>, void(error_code)>;
        counted_callback<handler> callback(
            handler_callback<handler>(handler(std::forward<Handler>(given)), home), work, what.remote.id());
        start_counted(*chosen->on, std::move(callback), what.on(chosen->on->device().index, chosen->rkey), options);
    }
};

struct start_remote_atomic {
    connection::connection* over;

    template <class Handler>
    void operator()(Handler&& given, const single_request& what, const operation_options& options) const
    {
        auto& owner = over->owner();
        auto& work = traffic::of(*over);
        const auto word = owner.landing().acquire();
        const auto chosen = word ? what.claim(work) : result<traffic::choice>(word.error());
        if (!chosen) {
            if (word) {
                owner.landing().release(*word);
            }
            refuse(std::forward<Handler>(given), owner.executor(), chosen.error(), std::uint64_t{0});
            return;
        }
        using handler = stored_handler<counted_value_callback, std::decay_t<Handler>, void(error_code, std::uint64_t)>;
        counted_value_callback<handler> callback(
            value_callback<handler>(handler(std::forward<Handler>(given)), owner, *word), work, what.remote.id());
        const auto device = chosen->on->device().index;
        auto request = what.on(device, chosen->rkey);
        request.local = owner.landing().segment(*word, device);
        start_counted(*chosen->on, std::move(callback), request, options);
    }
};

} // namespace detail

/// Writes, and takes a receive of the peer's, whose completion carries `immediate_data` and makes the bytes visible. One request on one
/// lane: it is not split, and does not wait for room.
///
/// *Errors.* As for async_read(); besides send_queue_full (no room on the lane now) and message_too_long.
/// The rest as for async_write().
template <class Token>
auto async_write_with_immediate(connection::connection& over, const memory::local_buffer& from, const remote_buffer& to,
    std::uint32_t immediate_data, const operation_options& options, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code)>(detail::start_immediate{&over}, token,
        detail::single_request{.operation = fabric::opcode::write_with_immediate,
            .local = from,
            .remote = to,
            .immediate_data = immediate_data},
        options);
}

template <class Token>
auto async_write_with_immediate(connection::connection& over, const memory::local_buffer& from, const remote_buffer& to,
    std::uint32_t immediate_data, Token&& token)
{
    return async_write_with_immediate(over, from, to, immediate_data, operation_options{}, std::forward<Token>(token));
}

/// Replaces the first 8 bytes of the peer's memory by `desired` if they are `expected`: see async_compare_swap(lane). It does not wait
/// for room.
///
/// *Completion signature.* void(error_code, std::uint64_t old).
/// *Errors.* As for async_read(); besides send_queue_full (no room on the lane now, no word) and not_supported.
template <class Token>
auto async_compare_swap(connection::connection& over, const remote_buffer& at, std::uint64_t expected,
    std::uint64_t desired, const operation_options& options, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code, std::uint64_t)>(detail::start_remote_atomic{&over},
        token,
        detail::single_request{
            .operation = fabric::opcode::compare_swap, .remote = at, .compare_add = expected, .swap = desired},
        options);
}

template <class Token>
auto async_compare_swap(
    connection::connection& over, const remote_buffer& at, std::uint64_t expected, std::uint64_t desired, Token&& token)
{
    return async_compare_swap(over, at, expected, desired, operation_options{}, std::forward<Token>(token));
}

/// Adds to the first 8 bytes of the peer's memory. The rest as for async_compare_swap().
template <class Token>
auto async_fetch_add(connection::connection& over, const remote_buffer& at, std::uint64_t addend,
    const operation_options& options, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code, std::uint64_t)>(detail::start_remote_atomic{&over},
        token, detail::single_request{.operation = fabric::opcode::fetch_add, .remote = at, .compare_add = addend},
        options);
}

template <class Token>
auto async_fetch_add(connection::connection& over, const remote_buffer& at, std::uint64_t addend, Token&& token)
{
    return async_fetch_add(over, at, addend, operation_options{}, std::forward<Token>(token));
}

} // namespace penstock::transfer
