#pragma once

// Operations that wait before anything of them is posted: for a credit, or for a message.

#include <penstock/completion/handler.hpp>
#include <penstock/completion/poller.hpp>
#include <penstock/transfer/operation.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/post.hpp>

#include <tuple>
#include <type_traits>
#include <utility>

namespace penstock::transfer::detail {

/// Calls a handler later, from its runtime's executor, also when the runtime is gone by then.
template <class Handler, class... Args>
void post_end(const boost::asio::any_io_executor& home, Handler&& handler, handler_work<std::decay_t<Handler>>&& work,
    Args&&... args)
{
    boost::asio::post(home,
        [home, kept = std::decay_t<Handler>(std::forward<Handler>(handler)), guard = std::move(work),
            values = std::tuple<std::decay_t<Args>...>(std::forward<Args>(args)...)]() mutable {
            std::apply(
                [&](auto&... each) { completion::call_handler(std::move(kept), home, std::move(each)...); }, values);
        });
}

/// An operation that waits in a slot of the poller, which the timer and the cancellation point to; then it gives up. `Operation`
/// has `handler`, and give_up(error), which ends it.
template <class Operation>
class waiting_operation {
public:
    static constexpr bool persistent = true; // nothing of it is posted: it is released when its wait is over
    void complete(const fabric::work_completion&) noexcept {}

    explicit waiting_operation(completion::poller& on)
        : poller_(on)
        , timer_([this] { self().give_up(errc::timed_out); })
    {}
    waiting_operation(const waiting_operation&) = delete;
    waiting_operation& operator=(const waiting_operation&) = delete;

    /// Errors: no_memory for the cancellation.
    error_code watch(completion::operation_id id, time_point deadline)
    {
        id_ = id;
        poller_.hold();
        if (const auto error = on_terminal_cancellation(self().handler, self()); error.failed()) {
            return error;
        }
        if (deadline != time_point_never) {
            poller_.timers().start(timer_, deadline);
        }
        return {};
    }

    /// Destroys this; what is still needed has been moved out, but for the handler's slot, which is cleared before.
    void release()
    {
        auto& poller = poller_;
        poller.release(id_);
        poller.release_hold();
    }

    void unwatch()
    {
        if (auto slot = boost::asio::get_associated_cancellation_slot(self().handler); slot.is_connected()) {
            slot.clear();
        }
    }

protected:
    ~waiting_operation() = default;

private:
    Operation& self() noexcept { return static_cast<Operation&>(*this); }

    completion::poller& poller_;
    completion::operation_id id_ = 0;
    completion::timer timer_;
};

} // namespace penstock::transfer::detail
