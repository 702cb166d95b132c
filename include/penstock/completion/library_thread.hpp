#pragma once

// Progress by a thread of the library's: for programs without an executor of their own.

#include <penstock/core/error.hpp>
#include <penstock/core/fork.hpp>
#include <penstock/core/log.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/post.hpp>

#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <type_traits>
#include <utility>

namespace penstock::completion {

struct library_thread_options {
    logger log{};
    /// Gets what a handler threw, on the thread, which then goes on. Empty: it is logged. Must not throw.
    std::function<void(std::exception_ptr)> on_exception;
};

/// A thread with an executor. What lives on it (a runtime, or a poller and its driver) is made, used and destroyed by functions that are
/// posted to the executor or given to run().
///
///     library_thread thread;
///     std::optional<runtime> rt;
///     thread.run([&] { rt.emplace(thread.executor()); });
///     ...
///     thread.run([&] { rt.reset(); });
///
/// Ownership: drivers on its executor are destroyed before it; else the program ends with a message.
/// Threads: any, except for the destructor: not its own.
class library_thread {
public:
    /// Throws std::system_error when there is no thread to be had.
    explicit library_thread(library_thread_options options = {});
    library_thread(const library_thread&) = delete;
    library_thread& operator=(const library_thread&) = delete;
    /// Runs what was posted before, drops what comes later, and joins the thread.
    ~library_thread();

    const boost::asio::any_io_executor& executor() const noexcept { return executor_; }
    bool is_this_thread() const noexcept;

    /// Calls `function` on the thread and waits for its result, or for what it throws. On the thread itself: at once.
    template <class Function>
    std::invoke_result_t<Function&> run(Function&& function)
    {
        if (inherited()) {
            throw system_error(make_error_code(errc::forked), "the library's thread");
        }
        std::packaged_task<std::invoke_result_t<Function&>()> task(std::ref(function));
        auto ended = task.get_future();
        if (is_this_thread()) {
            task();
        } else {
            // Not by reference: the caller may go on before the call has returned.
            boost::asio::post(executor_, [kept = std::move(task)]() mutable { kept(); });
        }
        return ended.get();
    }

private:
    struct state;
    bool inherited() const noexcept { return core::forked() && !made_in_child_; } // the thread is the parent's

    const bool made_in_child_ = (core::watch_forks(), core::forked());
    std::unique_ptr<state> state_;
    boost::asio::any_io_executor executor_;
};

} // namespace penstock::completion
