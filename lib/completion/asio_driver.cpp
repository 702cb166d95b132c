#include <penstock/completion/asio_driver.hpp>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>

#include <utility>

namespace penstock::completion {

namespace asio = boost::asio;

struct asio_driver::state : std::enable_shared_from_this<asio_driver::state> {
    state(asio::any_io_executor on, poller& what, const poll_options& wanted)
        : executor(std::move(on))
        , driven(&what)
        , options(wanted)
        , waiter(executor, what.descriptor())
    {}

    ~state()
    {
        if (waiter.is_open()) {
            waiter.release();
        }
    }

    void wake()
    {
        if (!running) {
            running = true;
            post();
        } else if (sleeping && driven->outstanding() == 0) {
            waiter.cancel(); // nothing to wait for any more: the executor may end
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
        while (driven != nullptr && driven->outstanding() != 0) {
            if (driven->poll() != 0) {
                last_event = time_point_never;
                idle_turns = 0;
                if (++busy_turns >= busy_turns_max) {
                    post();
                    return;
                }
            } else if (++idle_turns >= options.turns_per_post) {
                spin_or_sleep();
                return;
            }
        }
        running = false;
    }

    // The clock is read here only: once for each batch of idle turns.
    void spin_or_sleep()
    {
        const time_point now = driven->time().now();
        if (last_event == time_point_never) {
            last_event = now;
        }
        if (now - last_event < options.spin) {
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
        waiter.async_wait(asio::posix::stream_descriptor::wait_read, [self = shared_from_this()](const error_code&) {
            self->sleeping = false;
            if (self->driven == nullptr) {
                return;
            }
            self->driven->acknowledge();
            self->last_event = time_point_never;
            self->run();
        });
    }

    static constexpr std::uint32_t busy_turns_max = 64;

    asio::any_io_executor executor;
    poller* driven; // null once the driver is gone
    poll_options options;
    asio::posix::stream_descriptor waiter;
    time_point last_event = time_point_never; // never: something happened since the clock was last read
    bool running = false;
    bool sleeping = false; // in the executor, until the poller's descriptor is readable
    driver_statistics counters;
};

asio_driver::asio_driver(asio::any_io_executor executor, poller& driven, const poll_options& options)
    : state_(std::make_shared<state>(std::move(executor), driven, options))
{
    driven.on_work([](void* context) { static_cast<state*>(context)->wake(); }, state_.get());
    if (driven.outstanding() != 0) {
        state_->wake();
    }
}

asio_driver::~asio_driver()
{
    state_->driven->on_work(nullptr, nullptr);
    state_->driven = nullptr;
    if (state_->waiter.is_open()) {
        state_->waiter.release(); // the descriptor belongs to the poller; a pending wait ends with operation_aborted
    }
}

const driver_statistics& asio_driver::statistics() const noexcept
{
    return state_->counters;
}

} // namespace penstock::completion
