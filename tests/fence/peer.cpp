#include "peer.hpp"
#include "wire.hpp"

#include <penstock/transfer/exposure_ledger.hpp>
#include <penstock/transfer/transfer.hpp>

#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <list>
#include <memory>

#include <unistd.h>

namespace penstock::fence_test {
namespace {

using transfer::exposure_ledger;

constexpr std::size_t pieces = 4;

/// One connection and its orders. A write, once begun, is finished and answered for, however late it is.
class session : public std::enable_shared_from_this<session> {
public:
    session(runtime& rt, memory::local_buffer pattern)
        : runtime_(rt)
        , pattern_(pattern)
    {}

    void start(std::unique_ptr<connection::connection> over)
    {
        over_ = std::move(over);
        (void)exposure_ledger::of(*over_);
        over_->on_message([this](std::span<const std::byte> message) {
            if (const auto what = decode(message)) {
                take(*what);
            }
        });
        over_->on_down([self = shared_from_this()](error_code) {
            self->waiting_.clear();
            self->over_.reset();
        });
    }

private:
    struct waiting {
        order what;
        completion::timer timer;
    };

    void take(const order& what)
    {
        if (what.rude != 0) {
            (void)exposure_ledger::of(*over_).begin_use(what.to); // so that a revocation is not answered
        }
        waiting_.emplace_back().what = what;
        const auto entry = std::prev(waiting_.end());
        entry->timer.set_action([this, entry] {
            const auto due = entry->what;
            waiting_.erase(entry);
            if (due.rude != 0 || !exposure_ledger::of(*over_).begin_use(due.to).failed()) {
                write(due, 0);
            }
        });
        const auto due = saturating_add(runtime_.time().now(), std::chrono::microseconds(what.delay_us));
        runtime_.poller().timers().start(entry->timer, due);
    }

    void write(const order& what, std::size_t piece)
    {
        auto* const lane = over_ ? over_->lane_at(0) : nullptr;
        if (lane == nullptr) {
            return;
        }
        if (piece == pieces) {
            exposure_ledger::of(*over_).end_use(what.to);
            answer(*lane, what.operation);
            return;
        }
        const auto bytes = what.to.length() / pieces;
        const auto part = what.to.slice(piece * bytes, bytes);
        transfer::async_write(*lane, pattern_.slice(0, static_cast<std::size_t>(bytes)).segment(lane->device().index),
            {part.address(), part.key_for(0).value()}, [self = shared_from_this(), what, piece](error_code error) {
                if (!error.failed()) {
                    self->write(what, piece + 1);
                }
            });
    }

    static void answer(connection::lane& lane, std::uint64_t operation)
    {
        const auto message = lane.acquire_message();
        if (!message) {
            return; // the owner's time will run out
        }
        std::memcpy(message->bytes.data(), &operation, sizeof operation);
        transfer::async_send(lane, message->segment(sizeof operation),
            [&lane, kept = *message](error_code) { lane.release_message(kept); });
    }

    runtime& runtime_;
    memory::local_buffer pattern_;
    std::unique_ptr<connection::connection> over_;
    std::list<waiting> waiting_;
};

} // namespace

void run_peer(transport_choice transport, const boost::asio::ip::address& address, int tell)
{
    boost::asio::io_context context;
    runtime_options options;
    options.transport = transport;
    runtime rt(context.get_executor(), options);
    auto pattern = rt.pool().acquire().value();
    std::fill(pattern.bytes().begin(), pattern.bytes().end(), written_by_peer);

    connection::acceptor_options listening;
    listening.listen = {address, 0};
    listening.transport = transport;
    const connection::acceptor accepting(rt, listening, [&](std::unique_ptr<connection::connection> made) {
        std::make_shared<session>(rt, pattern.slice())->start(std::move(made));
    });
    const std::uint16_t port = accepting.local_endpoint().port();
    if (::write(tell, &port, sizeof port) != sizeof port) {
        std::_Exit(2);
    }
    context.run();
    std::_Exit(3); // an acceptor listens for ever
}

} // namespace penstock::fence_test
