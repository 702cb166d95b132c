#include "healer.hpp"

#include "connection_core.hpp"
#include "lane_shapes.hpp"

namespace penstock::connection {

healer::healer(connection_core& core, const fabric::endpoint& remote, const connect_options& options,
    const welcome& answer, const identifier& instance)
    : core_(core)
    , runtime_(core.owner())
    , remote_(remote)
    , options_(options)
    , instance_(instance)
    , answer_(answer)
    , epoch_(answer.epoch)
    , machine_(options.recovery, answer.lanes, runtime_.random())
    , step_([this] { step(); })
{}

healer::~healer()
{
    if (holding_) {
        runtime_.poller().release_hold();
    }
}

void healer::lane_lost(std::size_t index, error_code why)
{
    last_error_ = why;
    machine_.lane_lost(index, runtime_.time().now());
    look_again();
}

void healer::lane_fenced(std::size_t index)
{
    machine_.lane_fenced(index, runtime_.time().now());
    look_again();
}

void healer::control_lost(error_code why)
{
    last_error_ = why;
    for (auto& opener : openers_) {
        opener.reset();
    }
    machine_.control_lost(runtime_.time().now());
    look_again();
}

void healer::granted(std::size_t index, const identifier& secret)
{
    if (machine_.asking(index)) { // one that came too late is as good as none: another was asked for
        secrets_[index] = secret;
        machine_.ticket_granted(index);
        look_again();
    }
}

void healer::denied(std::size_t index)
{
    machine_.ticket_denied(index, runtime_.time().now());
    look_again();
}

// While something is down the executor is kept running: bounded by give_up_after as long as no lane is up.
void healer::look_again()
{
    if (machine_.active() != holding_) {
        holding_ = !holding_;
        holding_ ? runtime_.poller().hold() : runtime_.poller().release_hold();
    }
    runtime_.poller().timers().start(step_, runtime_.time().now());
}

void healer::step()
{
    const auto now = runtime_.time().now();
    while (const auto action = machine_.next(now)) {
        if (action->what == recovery_action::kind::give_up) {
            core_.end(last_error_); // destroys this
            return;
        }
        perform(*action);
    }
    if (const auto wake = machine_.wake(); wake != time_point_never) {
        runtime_.poller().timers().start(step_, wake);
    }
}

void healer::perform(const recovery_action& action)
{
    switch (action.what) {
    case recovery_action::kind::ask_for_ticket:
        if (core_.ask_for_lane(action.lane).failed()) {
            machine_.ticket_denied(action.lane, runtime_.time().now());
        }
        return;
    case recovery_action::kind::open_lane: open_lane(action.lane); return;
    case recovery_action::kind::dial: dial(); return;
    case recovery_action::kind::give_up: return;
    }
}

void healer::open_lane(std::size_t index)
{
    const ticket presented{answer_.connection, epoch_, static_cast<std::uint16_t>(index), secrets_[index]};
    std::vector<std::byte> admission(ticket_bytes);
    encode(presented, std::span<std::byte, ticket_bytes>(admission));
    openers_[index] = std::make_unique<lane_opener>(runtime_, *runtime_.device(answer_.transport),
        client_data_lane_options(answer_.depth, options_.messages), std::move(admission));
    const auto error = openers_[index]->start(
        {remote_.address(), answer_.data_port}, options_.timeout, [](lane&) {},
        [this, index](error_code why, std::unique_ptr<lane> opened) { lane_open(index, why, std::move(opened)); });
    if (error.failed()) {
        last_error_ = error;
        machine_.lane_not_opened(index, runtime_.time().now());
    }
}

void healer::lane_open(std::size_t index, error_code why, std::unique_ptr<lane> opened)
{
    const auto now = runtime_.time().now();
    if (why.failed()) {
        last_error_ = why;
        machine_.lane_not_opened(index, now);
    } else {
        machine_.lane_opened(index, now);
        core_.join(index, std::move(opened));
        core_.mark_up(index);
    }
    look_again();
}

void healer::dial()
{
    dialer_ = std::make_unique<dialer>(runtime_, remote_, options_, instance_, epoch_ + 1,
        [this](error_code why, dialed made) { dial_ended(why, std::move(made)); });
    dialer_->start();
}

void healer::dial_ended(error_code why, dialed made)
{
    epoch_ = dialer_->epoch();
    if (!why.failed() && (made.answer.lanes != answer_.lanes || (made.answer.features & feature_recovery) == 0)) {
        why = errc::remote_refused_feature; // the server is another than it was
        for (auto& opened : made.lanes) {
            runtime_.retire(std::move(opened));
        }
        runtime_.retire(std::move(made.control));
    }
    if (why.failed()) {
        last_error_ = why;
        machine_.not_dialed(runtime_.time().now());
    } else {
        answer_ = made.answer;
        machine_.dialed(runtime_.time().now());
        auto agreed = describe(made, remote_);
        core_.remade(std::move(made), std::move(agreed));
    }
    look_again();
}

} // namespace penstock::connection
