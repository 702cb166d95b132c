#include "pool_waiters.hpp"

#include <penstock/core/fork.hpp>

#include <boost/asio/post.hpp>

namespace penstock {

void detail::start_acquire(runtime& rt, std::size_t bytes, const acquire_options& options,
    boost::asio::any_completion_handler<void(error_code, memory::buffer)> handler)
{
    rt.waiters().start(bytes, options, std::move(handler));
}

} // namespace penstock

namespace penstock::connection {

namespace asio = boost::asio;

/// Brings the news of returned memory to the executor, from whatever thread gave it back.
class pool_waiters::listener final : public memory::return_listener, public std::enable_shared_from_this<listener> {
public:
    listener(asio::any_io_executor executor, pool_waiters& owner)
        : executor_(std::move(executor))
        , owner_(&owner)
    {}

    void returned() noexcept override
    {
        asio::post(executor_, [self = shared_from_this()] {
            if (self->owner_ != nullptr) {
                self->owner_->serve();
            }
        });
    }

    void forget_owner() noexcept { owner_ = nullptr; }

private:
    const asio::any_io_executor executor_;
    pool_waiters* owner_; // the executor's
};

pool_waiters::pool_waiters(runtime& rt, memory::memory_pool& pool, std::size_t most)
    : runtime_(rt)
    , pool_(pool)
    , most_(most)
    , listener_(std::make_shared<listener>(rt.executor(), *this))
{
    pool_.on_return(listener_);
}

pool_waiters::~pool_waiters()
{
    listener_->forget_owner();
    if (!core::forked()) {
        pool_.watch_returns(false);
    }
    while (!waiting_.empty()) {
        waiting_.pop_front();
        runtime_.poller().release_hold();
    }
}

void pool_waiters::start(std::size_t bytes, const acquire_options& options, handler call)
{
    error_code refused;
    if (core::forked()) {
        refused = errc::forked;
    } else if (waiting_.size() >= most_ || !pool_.could_hold(bytes)) {
        refused = errc::pool_exhausted;
    } else if (options.deadline <= runtime_.time().now()) {
        refused = errc::timed_out;
    }
    if (refused.failed()) {
        completion::post_handler(std::move(call), runtime_.executor(), refused, memory::buffer());
        return;
    }
    const auto added = waiting_.emplace(waiting_.end(), bytes, std::move(call));
    runtime_.poller().hold();
    if (options.deadline != time_point_never) {
        added->deadline.set_action([this, added] { end(added, errc::timed_out); });
        runtime_.poller().timers().start(added->deadline, options.deadline);
    }
    if (auto slot = asio::get_associated_cancellation_slot(added->call); slot.is_connected()) {
        slot.assign([this, added](asio::cancellation_type) { end(added, errc::cancelled); });
    }
    if (waiting_.size() == 1) {
        listener_->returned();
    }
}

// One at a time, in order: whoever cannot be served holds the others up, and a handler may throw or end the runtime.
void pool_waiters::serve()
{
    if (waiting_.empty()) {
        pool_.watch_returns(false);
        return;
    }
    pool_.watch_returns(true); // before looking: what comes back from now on is told of
    auto given = pool_.acquire(waiting_.front().bytes);
    if (!given && given.error() == errc::pool_exhausted) {
        return;
    }
    const auto error = given ? error_code{} : given.error();
    auto call = take(waiting_.begin());
    if (!waiting_.empty()) {
        listener_->returned();
    }
    completion::call_handler(std::move(call), runtime_.executor(), error, given ? std::move(*given) : memory::buffer());
}

void pool_waiters::end(waiters::iterator which, error_code why)
{
    if (waiting_.size() > 1) {
        listener_->returned(); // whoever was behind may need less
    }
    completion::post_handler(take(which), runtime_.executor(), why, memory::buffer());
}

pool_waiters::handler pool_waiters::take(waiters::iterator which)
{
    auto call = std::move(which->call);
    asio::get_associated_cancellation_slot(call).clear();
    waiting_.erase(which);
    runtime_.poller().release_hold();
    return call;
}

} // namespace penstock::connection
