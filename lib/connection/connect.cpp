#include <penstock/connection/connection.hpp>

#include "connection_core.hpp"
#include "dialer.hpp"

#include <penstock/completion/handler.hpp>
#include <penstock/core/fork.hpp>

namespace penstock::connection {
namespace {

using connect_handler = boost::asio::any_completion_handler<void(error_code, std::unique_ptr<connection>)>;

/// A connect in progress; keeps itself alive until the handler is called.
class connecting : public std::enable_shared_from_this<connecting> {
public:
    connecting(runtime& rt, const fabric::endpoint& remote, const connect_options& options, connect_handler handler)
        : runtime_(rt)
        , remote_(remote)
        , options_(options)
        , instance_(make_identifier(rt.random()))
        , handler_(std::move(handler))
        , dialer_(rt, remote, options, instance_, 1,
              [this](error_code error, dialed made) { finish(error, std::move(made)); })
    {}

    void start()
    {
        runtime_.keep(shared_from_this());
        runtime_.poller().hold();
        dialer_.start();
    }

private:
    void finish(error_code error, dialed made)
    {
        error_ = error;
        if (!error.failed()) {
            auto properties = describe(made, remote_); // before the lanes are moved away
            auto core = std::make_shared<connection_core>(
                runtime_, std::move(properties), std::move(made.control), std::move(made.lanes), options_.liveness);
            core->recover_by_dialing(remote_, options_, made.answer, instance_);
            made_ = std::make_unique<connection>(std::move(core));
        }
        // The connection stays ours until the handler takes it: should the runtime end first, it must go before it.
        boost::asio::post(runtime_.executor(), [weak = weak_from_this()] {
            if (const auto waiting = weak.lock()) {
                waiting->deliver();
            }
        });
    }

    void deliver()
    {
        const auto& home = runtime_.executor();
        runtime_.drop(this);
        runtime_.poller().release_hold();
        completion::call_handler(std::move(handler_), home, error_, std::move(made_));
    }

    runtime& runtime_;
    fabric::endpoint remote_;
    connect_options options_;
    identifier instance_;
    connect_handler handler_;
    dialer dialer_;
    error_code error_;
    std::unique_ptr<connection> made_;
};

} // namespace

void start_connect(runtime& rt, const fabric::endpoint& remote, const connect_options& options, connect_handler handler)
{
    error_code refused;
    if (core::forked()) {
        refused = errc::forked;
    } else if (options.depth == 0 || options.lanes == 0 || options.lanes > lanes_max
        || options.recovery.backoff_first.count() <= 0 || options.liveness.interval.count() <= 0) {
        refused = errc::invalid_argument;
    } else if (options.transport == transport_choice::verbs && rt.device(fabric::transport::verbs) == nullptr) {
        refused = errc::no_device;
    }
    if (refused.failed()) {
        completion::post_handler(std::move(handler), rt.executor(), refused, std::unique_ptr<connection>{});
        return;
    }
    std::make_shared<connecting>(rt, remote, options, std::move(handler))->start();
}

} // namespace penstock::connection
