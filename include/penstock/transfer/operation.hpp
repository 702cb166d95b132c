#pragma once

// How operations end: deadlines, cancellation, and the handler's way home.

#include <penstock/completion/handler.hpp>
#include <penstock/completion/poller.hpp>
#include <penstock/connection/lane.hpp>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/cancellation_type.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <new>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

namespace penstock::transfer {

/// Once posted an operation cannot be taken back. When its deadline passes, or it is cancelled (terminal cancellation), it is given
/// `revoke_grace` to end by itself; after that its lane goes to ERROR and flushes it, and everything else on that lane. Either way it
/// completes once, with timed_out or cancelled, and only when nobody touches its memory any more. How much was transferred is
/// then unknown: up to all of it.
struct operation_options {
    time_point deadline = time_point_never; ///< on the runtime's clock, runtime::time()
    std::chrono::milliseconds revoke_grace{100};
    /// Over a connection with several live lanes: a transfer longer than this goes over all of them, in pieces of this size.
    std::uint64_t stripe_bytes = std::uint64_t{1} << 20U;
};

/// A completion_status or an errc in four bytes, as an operation carries it: their values do not overlap.
class compact_error {
public:
    compact_error() = default;
    compact_error(completion_status status) noexcept
        : value_(static_cast<int>(status))
    {}
    compact_error(errc error) noexcept
        : value_(static_cast<int>(error))
    {}
    bool failed() const noexcept { return value_ != 0; }
    operator error_code() const noexcept
    {
        if (value_ == 0) [[likely]] {
            return {};
        }
        return value_ < static_cast<int>(errc::invalid_argument)
            ? make_error_code(static_cast<completion_status>(value_))
            : make_error_code(static_cast<errc>(value_));
    }

private:
    static_assert(static_cast<int>(completion_status::general_error) < static_cast<int>(errc::invalid_argument));
    int value_ = 0;
};

/// The end of a chain: the first failure among its requests, told when the last of them has ended, so that nothing of the chain
/// is in flight any more.
template <class Callback>
struct chain_operation {
    connection::lane* on;
    std::uint32_t requests;
    Callback callback;
    compact_error error{};

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

namespace detail {

[[gnu::always_inline]] inline error_code post_chain(
    connection::lane& on, std::span<fabric::send_request> requests, completion::operation_id id)
{
    for (auto& request : requests) {
        request.id = id;
        request.signaled = false;
    }
    requests.back().id = id | completion::last_request;
    requests.back().signaled = true;
    return on.post(requests);
}

inline std::uint32_t whole_milliseconds(std::chrono::milliseconds span) noexcept
{
    return static_cast<std::uint32_t>(std::clamp<std::int64_t>(span.count(), 0, 0xffff'ffff));
}

/// Only terminal cancellation: the others promise that one knows afterwards what was done.
template <class Operation>
struct canceller {
    explicit canceller(
        Operation* whom) noexcept // Asio makes it with parentheses, which clang 14 wants a constructor for
        : operation(whom)
    {}
    Operation* operation;
    void operator()(boost::asio::cancellation_type_t type) const
    {
        if ((type & boost::asio::cancellation_type::terminal) != boost::asio::cancellation_type::none) {
            operation->give_up(errc::cancelled); // which may destroy this
        }
    }
};

/// Errors: no_memory.
template <class Handler, class Operation>
error_code on_terminal_cancellation(const Handler& handler, Operation& operation)
{
    if (auto slot = boost::asio::get_associated_cancellation_slot(handler); slot.is_connected()) {
        try {
            slot.template emplace<canceller<Operation>>(&operation);
        } catch (const std::bad_alloc&) {
            return errc::no_memory;
        }
    }
    return {};
}

/// A chain with a deadline or a cancellation slot. While it is in flight it stays in its slot, which the timer and the
/// cancellation point to; what is moved out in order to complete leaves both behind.
template <class Callback>
class guarded_operation {
public:
    guarded_operation(
        connection::lane& on, std::uint32_t requests, Callback&& callback, std::chrono::milliseconds revoke_grace)
        : chain_{&on, requests, std::move(callback)}
        , revoke_grace_(whole_milliseconds(revoke_grace))
        , timer_([this] { due(); })
    {}
    guarded_operation(guarded_operation&& other) noexcept
        : chain_(std::move(other.chain_))
    {}
    guarded_operation& operator=(guarded_operation&&) = delete;
    ~guarded_operation() = default;

    /// Errors: no_memory for the cancellation.
    error_code watch(time_point deadline)
    {
        if (const auto error = on_terminal_cancellation(chain_.callback.handler, *this); error.failed()) {
            return error;
        }
        if (deadline != time_point_never) {
            poller().timers().start(timer_, deadline);
        }
        return {};
    }

    Callback& unwatch()
    {
        if (auto slot = cancellation_slot(); slot.is_connected()) {
            slot.clear();
        }
        timer_.stop();
        return chain_.callback;
    }

    void failed(const fabric::work_completion& completion) { chain_.failed(completion); }

    void complete(const fabric::work_completion& completion)
    {
        unwatch();
        chain_.complete(completion);
    }

private:
    auto cancellation_slot() const { return boost::asio::get_associated_cancellation_slot(chain_.callback.handler); }
    completion::poller& poller() { return chain_.on->owner().poller(); }

    template <class>
    friend struct canceller;
    void give_up(errc why)
    {
        if (!given_up_) {
            given_up_ = true;
            if (!chain_.error.failed()) {
                chain_.error = why;
            }
            const std::chrono::milliseconds grace(revoke_grace_);
            poller().timers().start(timer_, saturating_add(poller().time().now(), grace));
        }
    }

    void due()
    {
        if (given_up_) {
            chain_.on->fail(chain_.error);
        } else {
            give_up(errc::timed_out);
        }
    }

    chain_operation<Callback> chain_;
    std::uint32_t revoke_grace_ = 0; // milliseconds
    bool given_up_ = false;          // chain_.error says why
    completion::timer timer_;
};

/// A handler that has no executor of its own is called where the poller runs; what keeps that one busy is the poller.
struct no_executor {};
template <class Handler>
inline constexpr bool has_executor
    = !std::is_same_v<typename boost::asio::associated_executor<Handler, no_executor>::type, no_executor>;

/// Keeps the handler's own executor from running out of work before it has been called.
template <class Handler, bool = has_executor<Handler>>
struct handler_work {
    handler_work(const Handler&, const boost::asio::any_io_executor&) noexcept {}
};

template <class Handler>
struct handler_work<Handler, true> {
    using executor_type = typename boost::asio::associated_executor<Handler>::type;
    using tracked_type = std::decay_t<typename boost::asio::prefer_result<const executor_type&,
        boost::asio::execution::outstanding_work_t::tracked_t>::type>;

    handler_work(const Handler& handler, const boost::asio::any_io_executor& home)
    {
        const auto wanted = boost::asio::get_associated_executor(handler);
        if constexpr (std::is_same_v<executor_type, boost::asio::any_io_executor>) {
            if (wanted == home) {
                return;
            }
        }
        tracked.emplace(boost::asio::prefer(wanted, boost::asio::execution::outstanding_work.tracked));
    }
    std::optional<tracked_type> tracked;
};

/// Calls the handler from a later turn: for errors found while initiating. The runtime may be gone by then.
template <class Handler, class... Args>
[[gnu::noinline]] void refuse(Handler&& handler, const boost::asio::any_io_executor& home, Args... args)
{
    handler_work<std::decay_t<Handler>> work(handler, home);
    boost::asio::post(home,
        [home, work = std::move(work), kept = std::decay_t<Handler>(std::forward<Handler>(handler)),
            args...]() mutable { completion::call_handler(std::move(kept), home, args...); });
}

/// Calls the handler of an operation without a result.
template <class Handler>
struct handler_callback {
    Handler handler;
    const boost::asio::any_io_executor* home;
    [[no_unique_address]] handler_work<Handler> work;

    handler_callback(Handler&& called, const boost::asio::any_io_executor& at)
        : handler(std::move(called))
        , home(&at)
        , work(handler, at)
    {}
    void operator()(error_code error) { completion::call_handler(std::move(handler), *home, error); }
    /// Instead: nothing was posted, and the handler must not be called yet.
    void refused(error_code error) { refuse(std::move(handler), *home, error); }
};

/// Calls the handler of an atomic with the old value, and gives its word back.
template <class Handler>
struct value_callback {
    Handler handler;
    runtime* owner;
    std::uint16_t word;
    [[no_unique_address]] handler_work<Handler> work;

    value_callback(Handler&& called, runtime& of, std::uint16_t landing)
        : handler(std::move(called))
        , owner(&of)
        , word(landing)
        , work(handler, of.executor())
    {}
    void operator()(error_code error)
    {
        const std::uint64_t old = error.failed() ? 0 : owner->landing().value(word);
        owner->landing().release(word);
        completion::call_handler(std::move(handler), owner->executor(), error, old);
    }
    void refused(error_code error)
    {
        owner->landing().release(word);
        refuse(std::move(handler), owner->executor(), error, std::uint64_t{0});
    }
};

/// Any handler fits in a slot of the poller: what is too large for it goes behind a pointer, in memory of its own allocator.
template <template <class> class Callback, class Handler, class Signature>
using stored_handler
    = std::conditional_t<sizeof(guarded_operation<Callback<Handler>>) <= completion::poller::inline_bytes, Handler,
        boost::asio::any_completion_handler<Signature>>;

} // namespace detail
} // namespace penstock::transfer
