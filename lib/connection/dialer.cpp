#include "dialer.hpp"

#include "lane_shapes.hpp"
#include "message.hpp"

#include <algorithm>

namespace penstock::connection {

connection_properties describe(const dialed& made, const fabric::endpoint& remote)
{
    connection_properties known;
    known.transport = made.answer.transport;
    known.transport_reason = made.reason;
    known.device = made.lanes.front()->device().device->info().name;
    known.remote = remote;
    known.depth = made.answer.depth;
    known.transfer_bytes_max = made.answer.transfer_bytes_max;
    known.lanes = made.answer.lanes;
    known.epoch = made.answer.epoch;
    known.recovers = (made.answer.features & feature_recovery) != 0;
    known.peer_instance = made.answer.instance;
    return known;
}

dialer::dialer(runtime& rt, const fabric::endpoint& remote, const connect_options& options, const identifier& instance,
    std::uint32_t epoch, handler done)
    : runtime_(rt)
    , remote_(remote)
    , options_(options)
    , handshake_(opening(rt, options, instance, epoch))
    , done_(std::move(done))
{}

dialer::~dialer()
{
    give_up_lanes();
}

void dialer::start()
{
    deadline_.set_action([this] { finish(errc::timed_out); });
    runtime_.poller().timers().start(deadline_, saturating_add(runtime_.time().now(), options_.timeout));
    open_control();
}

hello dialer::opening(runtime& rt, const connect_options& options, const identifier& instance, std::uint32_t epoch)
{
    hello message;
    message.has_verbs = rt.device(fabric::transport::verbs) != nullptr && options.transport != transport_choice::tcp;
    message.wants = options.transport;
    message.lanes = static_cast<std::uint8_t>(options.lanes);
    message.depth = std::min(options.depth, depth_max);
    message.features = options.recovery.enabled ? feature_recovery : 0;
    message.epoch = epoch;
    message.instance = instance;
    return message;
}

void dialer::open_control()
{
    std::vector<std::byte> greeting(control_greeting_bytes);
    encode_control_greeting(std::span<std::byte, control_greeting_bytes>(greeting));
    control_opener_ = std::make_unique<lane_opener>(
        runtime_, *runtime_.device(fabric::transport::tcp), control_lane_options(), std::move(greeting));
    const auto error = control_opener_->start(
        remote_, options_.timeout, [this](lane& control) { watch_control(control); },
        [this](error_code why, std::unique_ptr<lane> control) { control_open(why, std::move(control)); });
    if (error.failed()) {
        finish_later(error);
    }
}

void dialer::watch_control(lane& control)
{
    control.on_message([this](std::span<const std::byte> message) {
        if (!control_) {
            finish_later(errc::unexpected_message); // before we have said anything
        } else if (handshake_.on_message(message) == client_handshake::action::open_data_lanes) {
            open_lanes();
        } else {
            finish_later(handshake_.error());
        }
    });
}

void dialer::control_open(error_code why, std::unique_ptr<lane> control)
{
    if (why.failed()) {
        finish_later(why);
        return;
    }
    control_ = std::move(control);
    control_->on_down([this](error_code lost) { finish(lost); });
    if (const auto error = send_message(*control_, handshake_.opening()); error.failed()) {
        finish_later(error);
    }
}

void dialer::open_lanes()
{
    control_->park_messages(); // what the server says from now on is for the connection
    const auto& answer = handshake_.answer();
    lanes_.resize(answer.lanes);
    for (std::size_t index = 0; index != answer.lanes; ++index) {
        std::vector<std::byte> admission(ticket_bytes);
        encode(answer.admission(index), std::span<std::byte, ticket_bytes>(admission));
        openers_[index] = std::make_unique<lane_opener>(runtime_, *runtime_.device(answer.transport),
            client_data_lane_options(answer.depth, options_.messages), std::move(admission));
        const auto error = openers_[index]->start(
            {remote_.address(), answer.data_port}, options_.timeout, [](lane&) {},
            [this, index](error_code why, std::unique_ptr<lane> opened) { lane_open(index, why, std::move(opened)); });
        if (error.failed()) {
            lane_failed(error);
            return;
        }
    }
}

void dialer::lane_open(std::size_t index, error_code why, std::unique_ptr<lane> opened)
{
    if (why.failed()) {
        lane_failed(why);
        return;
    }
    lanes_[index] = std::move(opened);
    lanes_[index]->on_down([this](error_code lost) { finish(lost); });
    if (std::all_of(lanes_.begin(), lanes_.end(), [](const auto& one) { return one != nullptr; })) {
        finish_later({});
    }
}

// Told loudly: the caller allowed both transports, but the better one was expected to work.
void dialer::lane_failed(error_code why)
{
    if (!retry_by_tcp_ && handshake_.answer().transport == fabric::transport::verbs
        && options_.transport == transport_choice::automatic) {
        verbs_failure_ = "the data lane could not be opened by verbs: " + why.message();
        runtime_.log().warning(verbs_failure_ + "; using tcp");
        retry_by_tcp_ = true;
    }
    finish_later(why);
}

// Within the deadline of the first attempt. The server may hold the first for made: the next has a higher epoch.
void dialer::again_by_tcp()
{
    retry_by_tcp_ = false;
    give_up_lanes();
    options_.transport = transport_choice::tcp;
    const hello before = handshake_.opening();
    handshake_ = client_handshake(opening(runtime_, options_, before.instance, before.epoch + 1));
    open_control();
}

// Never inside a callback of a lane or opener of ours: those are destroyed here. The first error counts.
void dialer::finish_later(error_code error)
{
    if (!ending_.running()) {
        ending_.set_action([this, error] {
            if (retry_by_tcp_) {
                again_by_tcp();
            } else {
                finish(error);
            }
        });
        runtime_.poller().timers().start(ending_, runtime_.time().now());
    }
}

void dialer::finish(error_code error)
{
    deadline_.stop();
    ending_.stop();
    dialed made;
    if (error.failed()) {
        give_up_lanes();
    } else {
        made.answer = handshake_.answer();
        made.reason = reason();
        made.control = std::move(control_);
        made.lanes = std::move(lanes_);
    }
    const auto call = std::exchange(done_, nullptr);
    call(error, std::move(made));
}

void dialer::give_up_lanes()
{
    control_opener_.reset();
    for (auto& opener : openers_) {
        opener.reset();
    }
    for (auto& opened : lanes_) {
        if (opened) {
            runtime_.retire(std::move(opened));
        }
    }
    lanes_.clear();
    if (control_) {
        runtime_.retire(std::move(control_));
    }
}

std::string dialer::reason() const
{
    const auto& answer = handshake_.answer();
    if (!verbs_failure_.empty()) {
        return verbs_failure_;
    }
    if (answer.transport == fabric::transport::tcp && !handshake_.opening().has_verbs
        && options_.transport == transport_choice::automatic) {
        return "here: " + runtime_.verbs_reason();
    }
    return answer.reason;
}

} // namespace penstock::connection
