#pragma once

// Work on a lane: chains of requests behind one doorbell, with one completion.
//
// This layer posts work requests, and no other (handshake messages on the control lane apart).

#include <penstock/completion/handler.hpp>
#include <penstock/completion/poller.hpp>
#include <penstock/connection/lane.hpp>

#include <boost/asio/async_result.hpp>

#include <cstdint>
#include <memory>
#include <span>
#include <utility>

namespace penstock::transfer {

/// The end of a chain: the first failure among its requests, told when the last of them has ended, so that nothing of the chain
/// is in flight any more.
template <class Callback>
struct chain_operation {
    connection::lane* on;
    std::uint32_t requests;
    Callback callback;
    error_code error{};

    void failed(const fabric::work_completion& completion)
    {
        if (!error.failed()) {
            error = completion.status;
        }
    }

    void complete(const fabric::work_completion& completion)
    {
        if (completion.status != completion_status::success) {
            failed(completion);
        }
        on->ended(requests);
        callback(error);
    }
};

/// Posts `requests` in order with one doorbell; ids and signals are set here. `callback(error_code)` runs in the poller's turn,
/// once, when the last of them has ended.
///
/// *Completion means* for writes and sends: placed; for reads: the bytes are here.
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
        &on, static_cast<std::uint32_t>(requests.size()), std::move(callback), error_code{});
    if (!id) {
        return id.error();
    }
    for (auto& request : requests) {
        request.id = *id;
        request.signaled = false;
    }
    requests.back().id = *id | completion::last_request;
    requests.back().signaled = true;
    const auto error = on.post(requests);
    if (error.failed()) {
        std::destroy_at(&callback); // handlers can be moved but not assigned
        std::construct_at(&callback, std::move(poller.template get<operation>(*id).callback));
        poller.release(*id);
    }
    return error;
}

namespace detail {

template <class Handler>
struct handler_callback {
    Handler handler;
    const boost::asio::any_io_executor* home;
    void operator()(error_code error) { completion::call_handler(std::move(handler), *home, error); }
};

template <class Token>
auto async_one(connection::lane& on, const fabric::send_request& request, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code)>(
        [&on](auto handler, fabric::send_request posted, fabric::local_segment piece) {
            const auto& home = on.owner().executor();
            posted.local = {&piece, 1};
            handler_callback<decltype(handler)> callback{std::move(handler), &home};
            if (const auto error = submit(on, {&posted, 1}, callback); error.failed()) {
                completion::post_handler(std::move(callback.handler), home, error);
            }
        },
        token, request, request.local.front());
}

} // namespace detail

/// Writes local bytes to the peer's memory. *Completion signature.* void(error_code). *Completion means* placed.
/// *Lifetime, errors, threads* as for submit(); all errors come through the token.
template <class Token>
auto async_write(connection::lane& on, fabric::local_segment from, fabric::remote_segment to, Token&& token)
{
    fabric::send_request request;
    request.operation = fabric::opcode::write;
    request.local = {&from, 1};
    request.remote = to;
    return detail::async_one(on, request, std::forward<Token>(token));
}

/// Reads the peer's memory. *Completion signature.* void(error_code). *Completion means* the bytes are here.
/// *Lifetime, errors, threads* as for submit(); all errors come through the token.
template <class Token>
auto async_read(connection::lane& on, fabric::local_segment into, fabric::remote_segment from, Token&& token)
{
    fabric::send_request request;
    request.operation = fabric::opcode::read;
    request.local = {&into, 1};
    request.remote = from;
    return detail::async_one(on, request, std::forward<Token>(token));
}

/// Sends a message from registered memory. *Completion signature.* void(error_code). *Completion means* placed in a receive.
/// *Lifetime, errors, threads* as for submit(); all errors come through the token.
template <class Token>
auto async_send(connection::lane& on, fabric::local_segment message, Token&& token)
{
    fabric::send_request request;
    request.operation = fabric::opcode::send;
    request.local = {&message, 1};
    return detail::async_one(on, request, std::forward<Token>(token));
}

} // namespace penstock::transfer
