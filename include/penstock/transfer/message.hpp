#pragma once

// Messages: sends that wait for credits, receives that wait for messages. What arrives always finds a receive.

#include <penstock/connection/connection.hpp>
#include <penstock/memory/local_buffer.hpp>
#include <penstock/transfer/operation.hpp>
#include <penstock/transfer/transfer.hpp>
#include <penstock/transfer/waiting_operation.hpp>

#include <boost/asio/async_result.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>

namespace penstock::transfer {

/// A message that arrived, in the memory it was received into, with bytes(). Destroying it gives its receive and the sender's
/// credit back. It may outlive its connection, not its runtime.
using message = connection::received_message;

namespace detail {

/// What a message to be sent consists of.
struct outgoing {
    std::array<fabric::local_segment, 2> pieces{};
    std::size_t count = 1;
};

template <class Handler>
struct send_callback {
    Handler handler;
    connection::lane* on;
    std::uint32_t slot;
    [[no_unique_address]] handler_work<Handler> work;

    void give_slot_back() noexcept { on->release_message({{}, 0, slot}); }
    void operator()(error_code error)
    {
        give_slot_back();
        completion::call_handler(std::move(handler), on->owner().executor(), error);
    }
};

/// Posts a message whose turn it is. Its handler is called later, whatever comes.
template <class Handler>
void send_now(
    const outgoing& what, send_callback<Handler>& callback, const operation_options& options, error_code error)
{
    auto& on = *callback.on;
    if (!error.failed()) {
        fabric::send_request request;
        request.operation = fabric::opcode::send;
        request.local = std::span(what.pieces).first(what.count);
        request.inline_data
            = std::size_t{what.pieces[0].length} + what.pieces[1].length <= on.pair().inline_bytes_max();
        error = submit(on, {&request, 1}, callback, options);
    }
    if (error.failed()) {
        callback.give_slot_back();
        post_end(on.owner().executor(), std::move(callback.handler), std::move(callback.work), error);
    }
}

template <class Handler>
class waiting_send final : public connection::send_waiter, public waiting_operation<waiting_send<Handler>> {
public:
    waiting_send(const outgoing& what, send_callback<Handler>&& callback, const operation_options& options)
        : waiting_operation<waiting_send>(callback.on->owner().poller())
        , handler(std::move(callback.handler))
        , on_(callback.on)
        , what_(what)
        , slot_(callback.slot)
        , revoke_grace_(whole_milliseconds(options.revoke_grace))
        , deadline_(options.deadline)
        , work_(std::move(callback.work))
    {}

    void turn(error_code error) override
    {
        this->unwatch();
        const auto what = what_;
        const operation_options options{
            .deadline = deadline_, .revoke_grace = std::chrono::milliseconds(revoke_grace_)};
        send_callback<Handler> callback{std::move(handler), on_, slot_, std::move(work_)};
        this->release();
        send_now(what, callback, options, error);
    }

    void give_up(error_code why)
    {
        on_->leave(*this);
        turn(why);
    }

    Handler handler;

private:
    connection::lane* on_;
    outgoing what_;
    std::uint32_t slot_;
    std::uint32_t revoke_grace_; // milliseconds
    time_point deadline_;
    [[no_unique_address]] handler_work<Handler> work_;
};

template <class Handler>
class waiting_receive final : public connection::receive_waiter, public waiting_operation<waiting_receive<Handler>> {
public:
    waiting_receive(connection::connection& from, Handler&& called)
        : waiting_operation<waiting_receive>(from.owner().poller())
        , handler(std::move(called))
        , from_(from.arrivals())
        , home_(from.owner().executor())
        , work_(handler, home_)
    {}

    void arrived(message received) override
    {
        this->unwatch();
        auto call = std::move(handler);
        [[maybe_unused]] const auto work = std::move(work_); // until the call
        const auto& home = home_;
        this->release();
        completion::call_handler(std::move(call), home, error_code(), std::move(received));
    }

    void ended(error_code why) override
    {
        this->unwatch();
        auto call = std::move(handler);
        auto work = std::move(work_);
        const auto& home = home_;
        this->release();
        post_end(home, std::move(call), std::move(work), why, message());
    }

    void give_up(error_code why)
    {
        from_.leave(*this);
        ended(why);
    }

    Handler handler;

private:
    connection::inbox& from_;
    const boost::asio::any_io_executor& home_; // the runtime's
    [[no_unique_address]] handler_work<Handler> work_;
};

struct start_send {
    connection::lane* on; ///< null: every lane is down
    runtime* owner;

    template <class Handler>
    void operator()(Handler&& given, std::span<const std::byte> copied, const memory::local_buffer& registered,
        const operation_options& options) const
    {
        using plain = std::decay_t<Handler>;
        using handler = std::conditional_t<sizeof(waiting_send<plain>) <= completion::poller::inline_bytes,
            stored_handler<handler_callback, plain, void(error_code)>,
            boost::asio::any_completion_handler<void(error_code)>>;
        const auto& home = owner->executor();
        outgoing what;
        const auto slot = prepare(copied, registered, what);
        handler call(std::forward<Handler>(given));
        handler_work<handler> work(call, home);
        if (!slot) {
            return post_end(home, std::move(call), std::move(work), slot.error());
        }
        send_callback<handler> callback{std::move(call), on, *slot, std::move(work)};
        if (on->may_send()) {
            return send_now(what, callback, options, {});
        }
        using operation = waiting_send<handler>;
        auto& poller = owner->poller();
        const auto id = poller.template start<operation>(what, std::move(callback), options);
        if (!id) {
            return send_now(what, callback, options, id.error());
        }
        auto& waiting = poller.template get<operation>(*id);
        on->wait_to_send(waiting);
        if (const auto error = waiting.watch(*id, options.deadline); error.failed()) {
            waiting.give_up(error);
        }
    }

private:
    result<std::uint32_t> prepare(
        std::span<const std::byte> copied, const memory::local_buffer& registered, outgoing& what) const
    {
        if (on == nullptr || on->failed()) {
            return make_error_code(on == nullptr ? errc::connection_lost : errc::lane_error);
        }
        const auto slot = on->acquire_message();
        if (!slot) {
            return slot.error();
        }
        const auto segment = registered.segment(on->device().index);
        if (std::max(copied.size(), registered.size()) > slot->bytes.size() || segment.length != registered.size()) {
            on->release_message(*slot);
            return make_error_code(errc::message_too_long);
        }
        std::copy(copied.begin(), copied.end(), slot->bytes.begin());
        what.pieces = {slot->segment(copied.size()), segment};
        what.count = registered.empty() ? 1 : 2;
        return slot->index;
    }
};

struct start_receive {
    connection::connection* from;

    template <class Handler>
    void operator()(Handler&& given, const operation_options& options) const
    {
        using signature = void(error_code, message);
        using handler
            = std::conditional_t<sizeof(waiting_receive<std::decay_t<Handler>>) <= completion::poller::inline_bytes,
                std::decay_t<Handler>, boost::asio::any_completion_handler<signature>>;
        auto& owner = from->owner();
        using operation = waiting_receive<handler>;
        handler call(std::forward<Handler>(given));
        const auto id = owner.poller().template start<operation>(*from, std::move(call));
        if (!id) {
            handler_work<handler> work(call, owner.executor());
            return post_end(owner.executor(), std::move(call), std::move(work), id.error(), message());
        }
        auto& waiting = owner.poller().template get<operation>(*id);
        auto error = waiting.watch(*id, options.deadline);
        if (!error.failed()) {
            error = from->arrivals().wait(waiting);
        }
        if (error.failed()) {
            waiting.ended(error);
        }
    }
};

/// The first lane that is up.
inline start_send send_on(connection::connection& over)
{
    connection::lane* on = nullptr;
    for (std::size_t index = 0; on == nullptr && index != over.lane_count(); ++index) {
        on = over.lane_at(index);
    }
    return {on, &over.owner()};
}

} // namespace detail

/// Sends a message, whose bytes are copied before this returns. Messages of a lane are sent in order. When the peer has room for no more
/// it waits, behind those that wait already.
///
/// *Completion signature.* void(error_code). *Completion means* placed in a receive of the peer's, who need not have looked at it.
/// *Errors.* message_too_long (longer than the connection's messages: see message_limits); send_queue_full (as many messages as message_limits say are
/// on their way or wait for credits); lane_error, connection_lost (dead already, or while it waited); timed_out, cancelled; else the
/// completion_status of the send, which costs the lane.
/// *Cancellation and deadline.* Terminal cancellation, emitted on the runtime's executor. While it waits for a credit it ends at once and nothing
/// is sent; after that see operation_options.
/// *Threads.* Called on the runtime's executor. The handler runs on its associated executor, else the runtime's, and never inside
/// this call. *Allocation.* None for small handlers, when nothing fails.
template <class Token>
auto async_send(connection::lane& on, std::span<const std::byte> bytes, const operation_options& options, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code)>(
        detail::start_send{&on, &on.owner()}, token, bytes, memory::local_buffer(), options);
}

template <class Token>
auto async_send(connection::lane& on, std::span<const std::byte> bytes, Token&& token)
{
    return async_send(on, bytes, operation_options{}, std::forward<Token>(token));
}

/// On the first lane of the connection that is up. Messages on different lanes are not ordered.
template <class Token>
auto async_send(
    connection::connection& over, std::span<const std::byte> bytes, const operation_options& options, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code)>(
        detail::send_on(over), token, bytes, memory::local_buffer(), options);
}

template <class Token>
auto async_send(connection::connection& over, std::span<const std::byte> bytes, Token&& token)
{
    return async_send(over, bytes, operation_options{}, std::forward<Token>(token));
}

/// The same from registered memory, which is not copied and belongs to the lane until the completion. message_too_long also for a
/// piece that lies in two regions. The rest as above.
template <class Token>
auto async_send(
    connection::lane& on, const memory::local_buffer& bytes, const operation_options& options, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code)>(
        detail::start_send{&on, &on.owner()}, token, std::span<const std::byte>(), bytes, options);
}

template <class Token>
auto async_send(connection::lane& on, const memory::local_buffer& bytes, Token&& token)
{
    return async_send(on, bytes, operation_options{}, std::forward<Token>(token));
}

template <class Token>
auto async_send(
    connection::connection& over, const memory::local_buffer& bytes, const operation_options& options, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code)>(
        detail::send_on(over), token, std::span<const std::byte>(), bytes, options);
}

template <class Token>
auto async_send(connection::connection& over, const memory::local_buffer& bytes, Token&& token)
{
    return async_send(over, bytes, operation_options{}, std::forward<Token>(token));
}

/// Receives a message from any lane of a connection without a message handler. Those of one lane come in order; who waits longest gets the
/// next. What arrives before anybody waits is kept, as far as the peer's credits reach; what nobody received of a lane that died
/// is kept until another takes its place.
///
/// *Completion signature.* void(error_code, message). *Completion means* the message's bytes are here.
/// *Lifetime.* The message belongs to the caller; keeping many leaves the peer without credits.
/// *Errors.* receive_queue_full (more than connection::inbox::waiting_max wait); what ended the connection, when all that arrived has been received;
/// timed_out, cancelled (no message is lost by either).
/// *Cancellation and deadline.* Terminal cancellation, emitted on the runtime's executor: ends at once, as does the deadline.
/// *Threads, allocation* as for async_send().
template <class Token>
auto async_receive(connection::connection& from, const operation_options& options, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code, message)>(detail::start_receive{&from}, token, options);
}

template <class Token>
auto async_receive(connection::connection& from, Token&& token)
{
    return async_receive(from, operation_options{}, std::forward<Token>(token));
}

} // namespace penstock::transfer
