#include "lane_opener.hpp"

#include "event_router.hpp"
#include "lane_shapes.hpp"

namespace penstock::connection {

lane_opener::~lane_opener()
{
    if (resolving_) {
        runtime_.router(device_.device->info().kind)->unwatch(*resolving_);
    }
    if (lane_) {
        runtime_.retire(std::move(lane_));
    }
}

error_code lane_opener::start(
    const fabric::endpoint& remote, std::chrono::milliseconds timeout, preparer prepare, handler done)
{
    auto& router = *runtime_.router(device_.device->info().kind);
    fabric::resolve_options wanted;
    wanted.timeout = timeout;
    wanted.handshake_timeout = timeout;
    if (device_.device->info().kind == fabric::transport::verbs) {
        wanted.local = fabric::source_for(device_.device->info(), remote);
    }
    auto resolving = router.channel().resolve(remote, wanted);
    if (!resolving) {
        return resolving.error();
    }
    prepare_ = std::move(prepare);
    done_ = std::move(done);
    resolving_ = std::move(*resolving);
    router.watch(*resolving_, [this](fabric::connection_event& event) { handle(event); });
    return {};
}

// A failed event says why; where it does not, the kind of event does.
static error_code reason_of(const fabric::connection_event& event)
{
    if (event.error.failed()) {
        return event.error;
    }
    return event.type == fabric::connection_event_type::rejected ? errc::refused : errc::unreachable;
}

void lane_opener::handle(const fabric::connection_event& event)
{
    if (event.type != fabric::connection_event_type::resolved) {
        finish(reason_of(event));
    } else if (const auto error = connect(); error.failed()) {
        finish(error);
    }
}

error_code lane_opener::connect()
{
    if (resolving_->device_name() != device_.device->info().name) {
        return errc::no_device; // the route leads over another one
    }
    auto created = lane::create(runtime_, device_, options_);
    if (!created) {
        return created.error();
    }
    lane_ = std::move(*created);
    prepare_(*lane_);
    auto* const link = resolving_.get();
    lane_->attach(std::move(resolving_), [this](const fabric::connection_event& event) {
        finish(event.type == fabric::connection_event_type::established ? error_code{} : reason_of(event));
    });
    lane_->on_down([this](error_code why) { finish(why); });
    fabric::connect_options wanted;
    wanted.private_data = private_data_;
    wanted.path.initiator_depth = options_.reads;
    wanted.path.responder_resources = options_.reads;
    if (options_.credits) {
        wanted.path.rnr_retry_count
            = 0; // with credits there is always a receive: a peer without one breaks the protocol
    } else {
        wanted.path.unacknowledged_max = control_unacknowledged_max;
    }
    return link->connect(lane_->pair(), wanted);
}

void lane_opener::finish(error_code error)
{
    auto call = std::exchange(done_, nullptr);
    if (!call) {
        return;
    }
    if (error.failed()) {
        if (lane_) {
            runtime_.retire(std::move(lane_));
        }
        call(error, nullptr);
        return;
    }
    lane_->on_down(nullptr);
    call({}, std::move(lane_));
}

} // namespace penstock::connection
