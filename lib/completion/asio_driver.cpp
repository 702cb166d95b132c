#include <penstock/completion/asio_driver.hpp>

#include "completion/contract.hpp"
#include "completion/driver_count.hpp"

#include <penstock/core/fork.hpp>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <utility>

namespace penstock::completion {

namespace asio = boost::asio;

struct asio_driver::state : std::enable_shared_from_this<asio_driver::state> {
    state(asio::any_io_executor on, poller& what, const poll_options& wanted)
        : executor(std::move(on))
        , driven(&what)
        , options(wanted)
        , spin(std::min(wanted.spin, std::chrono::duration_cast<std::chrono::microseconds>(duration::max())))
        , waiter(executor, what.descriptor())
    {}

    ~state()
    {
        // In a forked child it closes the descriptor: letting go of it would take it out of the parent's executor, too.
        if (waiter.is_open() && !core::forked()) {
            waiter.release();
        }
    }

    void listen()
    {
        driven->on_work([](void* context) { static_cast<state*>(context)->wake(); }, this);
    }

    // While it polls it looks for itself.
    void wake()
    {
        if (sleeping) {
            waiter.cancel(); // nothing to wait for any more: the executor may end
        } else {
            post();
        }
    }

    void post()
    {
        ++counters.posts;
        asio::post(executor, [self = shared_from_this()] { self->run(); });
    }

    // A handler that throws leaves through the executor's run(), as Asio's do; polling goes on when that is called again.
    void run()
    {
        try {
            turn();
        } catch (...) {
            post();
            throw;
        }
    }

    void turn()
    {
        std::uint32_t idle_turns = 0;
        std::uint32_t busy_turns = 0;
        while (driven != nullptr && driven->outstanding() != 0 && !core::forked()) {
            if (driven->poll() != 0) {
                last_event = time_point_never;
                idle_turns = 0;
                if (++busy_turns >= options.busy_turns_per_post) {
                    post();
                    return;
                }
                continue;
            }
            ++counters.spins;
            if (++idle_turns >= options.turns_per_post) {
                spin_or_sleep();
                return;
            }
        }
        if (driven != nullptr && !core::forked()) {
            listen();
        }
    }

    // The clock is read here only: once for each batch of idle turns.
    void spin_or_sleep()
    {
        const time_point now = driven->time().now();
        if (last_event == time_point_never) {
            last_event = now;
        }
        if (now - last_event < spin) {
            post();
            return;
        }
        if (driven->arm().failed() || driven->poll() != 0) {
            last_event = time_point_never;
            post();
            return;
        }
        if (driven == nullptr) {
            return;
        }
        if (driven->outstanding() == 0) {
            post();
            return;
        }
        ++counters.sleeps;
        sleeping = true;
        listen();
        waiter.async_wait(asio::posix::stream_descriptor::wait_read, [self = shared_from_this()](const error_code&) {
            self->sleeping = false;
            if (self->driven == nullptr) {
                return;
            }
            self->driven->on_work(nullptr, nullptr);
            self->driven->acknowledge();
            self->last_event = time_point_never;
            self->run();
        });
    }

    asio::any_io_executor executor;
    poller* driven; // null once the driver is gone
    poll_options options;
    duration spin;
    asio::posix::stream_descriptor waiter;
    time_point last_event = time_point_never; // never: something happened since the clock was last read
    bool sleeping = false;                    // in the executor, until the poller's descriptor is readable
    driver_statistics counters;
};

asio_driver::asio_driver(asio::any_io_executor executor, poller& driven, const poll_options& options)
{
    if (options.turns_per_post == 0 || options.busy_turns_per_post == 0) {
        throw system_error(make_error_code(errc::invalid_argument), "poll options");
    }
    auto& others = drivers_of(executor);
    driven.attach_driver();
    try {
        state_ = std::make_shared<state>(std::move(executor), driven, options);
    } catch (...) {
        driven.detach_driver();
        throw;
    }
    others.add();
    if (driven.outstanding() != 0) {
        state_->post();
    } else {
        state_->listen();
    }
}

asio_driver::~asio_driver()
{
    if (core::forked()) {
        state_->driven->leave_descriptor();
    }
    std::exchange(state_->driven, nullptr)->detach_driver();
    drivers_of(state_->executor).remove();
    if (state_->waiter.is_open() && !core::forked()) {
        state_->waiter.release(); // the descriptor belongs to the poller; a pending wait ends with operation_aborted
    }
}

const driver_statistics& asio_driver::statistics() const noexcept
{
    return state_->counters;
}

} // namespace penstock::completion
