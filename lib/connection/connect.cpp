#include <penstock/connection/connection.hpp>

#include "connection_core.hpp"
#include "handshake.hpp"
#include "lane_opener.hpp"
#include "lane_shapes.hpp"
#include "message.hpp"

#include <penstock/completion/handler.hpp>

#include <optional>

namespace penstock::connection {
namespace {

using connect_handler = boost::asio::any_completion_handler<void(error_code, std::unique_ptr<connection>)>;

/// One attempt to connect; keeps itself alive until the handler is called.
class connecting : public std::enable_shared_from_this<connecting> {
public:
    connecting(runtime& rt, const fabric::endpoint& remote, const connect_options& options, connect_handler handler)
        : runtime_(rt)
        , remote_(remote)
        , options_(options)
        , handler_(std::move(handler))
        , handshake_(opening(rt, options))
    {}

    connecting(const connecting&) = delete;
    connecting& operator=(const connecting&) = delete;
    ~connecting()
    {
        opener_.reset();
        retire_lanes();
    }

    void start(std::string verbs_failure)
    {
        verbs_failure_ = std::move(verbs_failure);
        runtime_.keep(shared_from_this());
        runtime_.poller().hold();
        timeout_.set_action([this] { finish(errc::timed_out); });
        runtime_.poller().timers().start(timeout_, saturating_add(runtime_.time().now(), options_.timeout));
        std::vector<std::byte> greeting(control_greeting_bytes);
        encode_control_greeting(std::span<std::byte, control_greeting_bytes>(greeting));
        opener_ = std::make_unique<lane_opener>(
            runtime_, *runtime_.device(fabric::transport::tcp), control_lane_options(), std::move(greeting));
        const auto error = opener_->start(
            remote_, options_.timeout, [this](lane& control) { watch_control(control); },
            [this](error_code why, std::unique_ptr<lane> control) { control_open(why, std::move(control)); });
        if (error.failed()) {
            finish_later(error);
        }
    }

private:
    static hello opening(runtime& rt, const connect_options& options)
    {
        hello message;
        message.has_verbs
            = rt.device(fabric::transport::verbs) != nullptr && options.transport != transport_choice::tcp;
        message.wants = options.transport;
        message.depth = std::min(options.depth, depth_max);
        message.instance = make_identifier(rt.random());
        return message;
    }

    void watch_control(lane& control)
    {
        control.on_message([this](std::span<const std::byte> message) {
            if (!control_) {
                finish_later(errc::unexpected_message); // before we have said anything
            } else if (handshake_.on_message(message) == client_handshake::action::open_data_lane) {
                open_data_lane();
            } else {
                finish_later(handshake_.error());
            }
        });
    }

    void control_open(error_code why, std::unique_ptr<lane> control)
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

    void open_data_lane()
    {
        const auto& answer = handshake_.answer();
        std::vector<std::byte> admission(ticket_bytes);
        encode(answer.admission, std::span<std::byte, ticket_bytes>(admission));
        opener_ = std::make_unique<lane_opener>(runtime_, *runtime_.device(answer.transport),
            client_data_lane_options(answer.depth, options_.messages), std::move(admission));
        const auto error = opener_->start(
            {remote_.address(), answer.data_port}, options_.timeout, [](lane&) {},
            [this](error_code why, std::unique_ptr<lane> data) { data_open(why, std::move(data)); });
        if (error.failed()) {
            data_failed(error);
        }
    }

    void data_open(error_code why, std::unique_ptr<lane> data)
    {
        if (why.failed()) {
            data_failed(why);
            return;
        }
        data_ = std::move(data);
        finish_later({});
    }

    // Told loudly: the caller allowed both transports, but the better one was expected to work.
    void data_failed(error_code why)
    {
        if (handshake_.answer().transport == fabric::transport::verbs
            && options_.transport == transport_choice::automatic) {
            verbs_failure_ = "the data lane could not be opened by verbs: " + why.message();
            runtime_.log().warning(verbs_failure_ + "; using tcp");
            retry_by_tcp_ = true;
        }
        finish_later(why);
    }

    // Never inside a callback of a lane or opener of ours: those are destroyed here.
    void finish_later(error_code error)
    {
        timeout_.set_action([this, error] { finish(error); });
        runtime_.poller().timers().start(timeout_, runtime_.time().now());
    }

    void finish(error_code error)
    {
        const auto self = shared_from_this();
        timeout_.stop();
        opener_.reset();
        error_ = error;
        if (error.failed()) {
            retire_lanes();
        } else {
            auto properties = agreed();
            connection_core::lanes data{std::move(data_)};
            made_ = std::make_unique<connection>(std::make_shared<connection_core>(
                runtime_, std::move(properties), std::move(control_), std::move(data)));
        }
        if (retry_by_tcp_) {
            connect_options by_tcp = options_;
            by_tcp.transport = transport_choice::tcp;
            std::make_shared<connecting>(runtime_, remote_, by_tcp, std::move(handler_))->start(verbs_failure_);
            end();
            return;
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
        end();
        completion::call_handler(std::move(handler_), home, error_, std::move(made_));
    }

    void end()
    {
        runtime_.drop(this);
        runtime_.poller().release_hold();
    }

    void retire_lanes()
    {
        for (auto* opened : {&control_, &data_}) {
            if (*opened) {
                runtime_.retire(std::move(*opened));
            }
        }
    }

    connection_properties agreed() const
    {
        const auto& answer = handshake_.answer();
        connection_properties made;
        made.transport = answer.transport;
        made.transport_reason = reason();
        made.device = data_->device().device->info().name;
        made.remote = remote_;
        made.depth = answer.depth;
        made.transfer_bytes_max = answer.transfer_bytes_max;
        made.peer_instance = answer.instance;
        return made;
    }

    std::string reason() const
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

    runtime& runtime_;
    fabric::endpoint remote_;
    connect_options options_;
    connect_handler handler_;
    client_handshake handshake_;
    std::string verbs_failure_;
    bool retry_by_tcp_ = false;
    completion::timer timeout_;
    std::unique_ptr<lane> control_;
    std::unique_ptr<lane> data_;
    std::unique_ptr<lane_opener> opener_;
    error_code error_;
    std::unique_ptr<connection> made_;
};

} // namespace

void start_connect(runtime& rt, const fabric::endpoint& remote, const connect_options& options, connect_handler handler)
{
    error_code refused;
    if (options.depth == 0) {
        refused = errc::invalid_argument;
    } else if (options.transport == transport_choice::verbs && rt.device(fabric::transport::verbs) == nullptr) {
        refused = errc::no_device;
    }
    if (refused.failed()) {
        completion::post_handler(std::move(handler), rt.executor(), refused, std::unique_ptr<connection>{});
        return;
    }
    std::make_shared<connecting>(rt, remote, options, std::move(handler))->start({});
}

} // namespace penstock::connection
