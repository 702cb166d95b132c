#pragma once

// Calling a completion handler where it wants to be called.

#include <boost/asio/any_completion_executor.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>

#include <tuple>
#include <type_traits>
#include <utility>

namespace penstock::completion {

/// From the poller's turn: calls directly when the handler's executor is `home`, on which the poller runs; else dispatches.
template <class Handler, class... Args>
void call_handler(Handler&& handler, const boost::asio::any_io_executor& home, Args&&... args)
{
    // A handler without an executor of its own gets `home` itself back, of which no copy is made: each counts references.
    const auto& wanted
        = boost::asio::associated_executor<std::decay_t<Handler>, boost::asio::any_io_executor>::get(handler, home);
    if constexpr (std::is_same_v<std::decay_t<decltype(wanted)>, boost::asio::any_io_executor>) {
        if (&wanted == &home || wanted == home) {
            std::forward<Handler>(handler)(std::forward<Args>(args)...);
            return;
        }
    } else if constexpr (std::is_same_v<std::decay_t<decltype(wanted)>, boost::asio::any_completion_executor>) {
        if (wanted == boost::asio::any_completion_executor(home)) {
            std::forward<Handler>(handler)(std::forward<Args>(args)...);
            return;
        }
    }
    // A plain function: one with an associated executor would be dispatched to it again.
    const auto elsewhere = wanted; // it may be the handler's own, which moves
    boost::asio::dispatch(elsewhere,
        [handler = std::decay_t<Handler>(std::forward<Handler>(handler)),
            values = std::tuple<std::decay_t<Args>...>(std::forward<Args>(args)...)]() mutable {
            std::apply(std::move(handler), std::move(values));
        });
}

/// From an initiating function, which must not call the handler itself.
template <class Handler, class... Args>
void post_handler(Handler&& handler, const boost::asio::any_io_executor& home, Args&&... args)
{
    boost::asio::post(home,
        [home, handler = std::decay_t<Handler>(std::forward<Handler>(handler)),
            values = std::tuple<std::decay_t<Args>...>(std::forward<Args>(args)...)]() mutable {
            std::apply([&](auto&... each) { call_handler(std::move(handler), home, std::move(each)...); }, values);
        });
}

} // namespace penstock::completion
