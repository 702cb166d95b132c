#pragma once

// What blocks, on a thread of its own: registering memory takes milliseconds, destroying a queue pair has been seen to take 51 s.

#include <penstock/core/error.hpp>

#include <boost/asio/any_io_executor.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <thread>

namespace penstock::completion {

/// Work for the control thread, and what comes of it.
class control_job {
public:
    control_job() = default;
    control_job(const control_job&) = delete;
    control_job& operator=(const control_job&) = delete;
    virtual ~control_job() = default;

    /// On the control thread; may block.
    virtual void run() noexcept = 0;
    /// On the executor, after run(), once. An exception leaves through the executor's run().
    virtual void deliver() = 0;
};

/// Runs jobs one after the other, in the order of start(). The thread begins with the first one.
///
/// While a job is not delivered the executor has work. What runs must not throw. Threads: start() on any. Allocation: a few for each job.
class control_thread {
public:
    explicit control_thread(boost::asio::any_io_executor executor, std::size_t jobs_max = 4'096);
    control_thread(const control_thread&) = delete;
    control_thread& operator=(const control_thread&) = delete;
    /// finish()
    ~control_thread();

    /// Runs what was started, joins the thread, and destroys what was not delivered without delivering it. Nothing can be
    /// started afterwards.
    void finish() noexcept;

    /// Takes the job, or leaves it where it is. Errors: control_queue_full with `jobs_max` not delivered yet, or after finish(); forked; errno when
    /// no thread can be had.
    error_code start(std::unique_ptr<control_job>& job);
    /// `work` on the control thread, then `done`, if there is one, on the executor.
    error_code start(std::function<void()> work, std::function<void()> done = {});

    /// Jobs not delivered yet. Threads: any.
    std::size_t outstanding() const noexcept;

private:
    struct state;
    std::shared_ptr<state> state_; // shared with the thread and with what is posted to the executor
    std::thread thread_;
};

} // namespace penstock::completion
