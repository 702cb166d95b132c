#pragma once

// What the copying coroutines are made of: a gate that bounds how many go through, a group that waits for all of them, and
// a hop to the threads that may block.
//
// Threads: one, that of the executor, but for the functions given to run_blocking.

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <cassert>
#include <cstddef>
#include <deque>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace penstock::command {

namespace asio = boost::asio;
using asio::awaitable;

/// Lets a fixed number through at a time; the others wait in the order in which they came.
class gate {
public:
    gate(asio::any_io_executor executor, std::size_t permits)
        : executor_(std::move(executor))
        , free_(permits)
    {}
    gate(const gate&) = delete;
    gate& operator=(const gate&) = delete;
    ~gate() { assert(waiting_.empty()); }

    /// Given back by its destructor. The gate must outlive it.
    class permit {
    public:
        permit() = default;
        explicit permit(gate& from) noexcept
            : gate_(&from)
        {}
        permit(permit&& other) noexcept
            : gate_(std::exchange(other.gate_, nullptr))
        {}
        permit& operator=(permit&& other) noexcept
        {
            std::swap(gate_, other.gate_);
            return *this;
        }
        ~permit()
        {
            if (gate_ != nullptr) {
                gate_->release();
            }
        }

    private:
        gate* gate_ = nullptr;
    };

    awaitable<permit> enter()
    {
        if (free_ != 0) {
            --free_;
        } else {
            co_await asio::async_initiate<const asio::use_awaitable_t<>&, void()>(
                [this](auto handler) { waiting_.emplace_back(std::move(handler)); }, asio::use_awaitable);
        }
        co_return permit(*this);
    }

private:
    void release()
    {
        if (waiting_.empty()) {
            ++free_;
            return;
        }
        // The permit goes to the first that waits, without being free in between.
        auto first = std::move(waiting_.front());
        waiting_.pop_front();
        asio::post(executor_, [handler = std::move(first)]() mutable { std::move(handler)(); });
    }

    asio::any_io_executor executor_;
    std::size_t free_;
    std::deque<asio::any_completion_handler<void()>> waiting_;
};

/// Coroutines that run at once; whoever spawned them waits for all in join(), and must.
class task_group {
public:
    explicit task_group(asio::any_io_executor executor)
        : executor_(std::move(executor))
    {}
    task_group(const task_group&) = delete;
    task_group& operator=(const task_group&) = delete;
    ~task_group() { assert(running_ == 0); }

    void spawn(awaitable<void> task)
    {
        ++running_;
        asio::co_spawn(executor_, std::move(task), [this](std::exception_ptr thrown) {
            if (thrown && !thrown_) {
                thrown_ = thrown;
            }
            if (--running_ == 0 && waiting_) {
                auto handler = std::move(*waiting_);
                waiting_.reset();
                asio::post(executor_, [last = std::move(handler)]() mutable { std::move(last)(); });
            }
        });
    }

    /// Rethrows what the first of them threw.
    awaitable<void> join()
    {
        if (running_ != 0) {
            co_await asio::async_initiate<const asio::use_awaitable_t<>&, void()>(
                [this](auto handler) { waiting_.emplace(std::move(handler)); }, asio::use_awaitable);
        }
        if (thrown_) {
            std::rethrow_exception(std::exchange(thrown_, nullptr));
        }
    }

private:
    asio::any_io_executor executor_;
    std::size_t running_ = 0;
    std::exception_ptr thrown_;
    std::optional<asio::any_completion_handler<void()>> waiting_;
};

/// Runs `work` on `threads` and comes back with what it returned. `work` must not throw.
template <class Work>
awaitable<std::invoke_result_t<Work&>> run_blocking(asio::thread_pool& threads, Work work)
{
    using outcome = std::invoke_result_t<Work&>;
    std::optional<outcome> made;
    co_await asio::async_initiate<const asio::use_awaitable_t<>&, void()>(
        [&](auto handler) {
            const auto home = asio::get_associated_executor(handler);
            asio::post(
                threads, [&work, &made, handler = std::move(handler), guard = asio::make_work_guard(home)]() mutable {
                    made.emplace(work());
                    asio::post(guard.get_executor(), std::move(handler));
                });
        },
        asio::use_awaitable);
    co_return std::move(*made);
}

} // namespace penstock::command
