#include <penstock/completion/control_thread.hpp>

#include <penstock/core/fork.hpp>

#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <utility>
#include <vector>

namespace penstock::completion {

namespace asio = boost::asio;

struct control_thread::state : std::enable_shared_from_this<control_thread::state> {
    state(asio::any_io_executor on, std::size_t most)
        : executor(std::move(on))
        , jobs_max(most)
    {}

    void work();
    void deliver_one();

    const asio::any_io_executor executor;
    const std::size_t jobs_max;
    mutable std::mutex mutex;
    std::condition_variable changed;
    std::deque<std::unique_ptr<control_job>> waiting;
    std::deque<std::unique_ptr<control_job>> finished;
    std::size_t outstanding = 0;
    asio::any_io_executor busy; // keeps the executor's run() from returning while jobs are outstanding
    bool ending = false;
};

void control_thread::state::work()
{
    std::unique_lock lock(mutex);
    for (;;) {
        changed.wait(lock, [this] { return ending || !waiting.empty(); });
        if (waiting.empty()) {
            return;
        }
        auto job = std::move(waiting.front());
        waiting.pop_front();
        lock.unlock();
        job->run();
        lock.lock();
        finished.push_back(std::move(job));
        if (!ending) {
            asio::post(executor, [self = shared_from_this()] { self->deliver_one(); });
        }
    }
}

void control_thread::state::deliver_one()
{
    std::unique_ptr<control_job> job;
    asio::any_io_executor idle;
    {
        const std::lock_guard lock(mutex);
        if (finished.empty()) {
            return;
        }
        job = std::move(finished.front());
        finished.pop_front();
        if (--outstanding == 0) {
            idle = std::exchange(busy, {});
        }
    }
    job->deliver();
}

namespace {

struct function_job final : control_job {
    std::function<void()> work;
    std::function<void()> done;

    void run() noexcept override { work(); }
    void deliver() override
    {
        if (done) {
            done();
        }
    }
};

} // namespace

control_thread::control_thread(asio::any_io_executor executor, std::size_t jobs_max)
    : state_(std::make_shared<state>(std::move(executor), jobs_max))
{}

control_thread::~control_thread()
{
    finish();
}

void control_thread::finish() noexcept
{
    if (core::forked()) {
        // The thread is the parent's. What it holds here, a lock maybe, can be neither had nor destroyed: kept for good.
        static auto& kept = *new std::vector<std::shared_ptr<state>>;
        kept.push_back(state_);
        if (thread_.joinable()) {
            thread_.detach();
        }
        return;
    }
    {
        const std::lock_guard lock(state_->mutex);
        state_->ending = true;
    }
    state_->changed.notify_one();
    if (thread_.joinable()) {
        thread_.join();
    }
    std::deque<std::unique_ptr<control_job>> undelivered; // destroyed without the lock
    const std::lock_guard lock(state_->mutex);
    undelivered.swap(state_->finished);
    state_->outstanding = 0;
    state_->busy = {};
}

error_code control_thread::start(std::unique_ptr<control_job>& job)
{
    if (core::forked()) {
        return errc::forked;
    }
    const std::lock_guard lock(state_->mutex);
    if (state_->ending || state_->outstanding >= state_->jobs_max) {
        return errc::control_queue_full;
    }
    if (!thread_.joinable()) {
        try {
            thread_ = std::thread([self = state_] { self->work(); });
        } catch (const std::system_error& none) {
            return make_system_error(none.code().value());
        }
    }
    if (state_->outstanding++ == 0) {
        state_->busy = asio::prefer(state_->executor, asio::execution::outstanding_work.tracked);
    }
    state_->waiting.push_back(std::move(job));
    state_->changed.notify_one();
    return {};
}

error_code control_thread::start(std::function<void()> work, std::function<void()> done)
{
    auto made = std::make_unique<function_job>();
    made->work = std::move(work);
    made->done = std::move(done);
    std::unique_ptr<control_job> job = std::move(made);
    return start(job);
}

std::size_t control_thread::outstanding() const noexcept
{
    if (core::forked()) {
        return 0; // the lock may have been held when this process was made
    }
    const std::lock_guard lock(state_->mutex);
    return state_->outstanding;
}

} // namespace penstock::completion
