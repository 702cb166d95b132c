#include "survivor.hpp"

#include <penstock/transfer/message.hpp>
#include <penstock/transfer/remote_access.hpp>

#include <boost/asio/post.hpp>

#include <algorithm>
#include <array>
#include <cstdio>

namespace penstock::kill_test {

runtime_options shape(transport_choice transport)
{
    runtime_options options;
    options.transport = transport;
    options.pool.slice_bytes = memory_bytes;
    return options;
}

/// Ends when its connection is down, and its exposure, whose fence holds the memory, with it.
struct owner::client {
    memory::buffer memory;
    std::unique_ptr<connection::connection> over;
    transfer::exposure exposed;
    std::array<std::byte, transfer::remote_buffer::encoded_bytes_max> name{};
    bool down = false;
    int waits = 0; // handlers that are still to be called
};

owner::owner(runtime& rt, transport_choice transport, const boost::asio::ip::address& address)
    : runtime_(rt)
    , listening_(
          rt,
          [&] {
              connection::acceptor_options options;
              options.listen = {address, 0};
              options.transport = transport;
              return options;
          }(),
          [this](std::unique_ptr<connection::connection> made) { serve(std::move(made)); })
{}

void owner::serve(std::unique_ptr<connection::connection> made)
{
    ++accepted_;
    ++clients_;
    auto one = std::make_shared<client>();
    one->over = std::move(made);
    one->memory = runtime_.pool().acquire(memory_bytes).value();
    one->memory.bytes().front() = std::byte{0};
    newest_ = one;
    const auto leave = [this, one] {
        if (one->down && one->waits == 0 && one->over) {
            one->over->close([this, one] { --clients_; }); // every lane is fenced
            one->exposed = {};
            one->over.reset();
        }
    };
    one->over->on_down([one, leave](error_code) {
        one->down = true;
        leave();
    });
    ++one->waits;
    transfer::async_expose(*one->over, one->memory.slice(), fabric::access::remote_read | fabric::access::remote_write,
        [one, leave](error_code error, transfer::exposure got) {
            --one->waits;
            one->exposed = std::move(got);
            if (error.failed() || one->down) {
                leave();
                return;
            }
            const auto length = one->exposed.remote().encode(one->name);
            ++one->waits;
            transfer::async_send(*one->over, std::span(one->name).first(length), [one, leave](error_code) {
                --one->waits;
                leave();
            });
        });
}

std::uint64_t owner::worked() const
{
    const auto last = newest_.lock();
    const bool idle = last && last->memory.bytes().front() != written;
    return accepted_ - (idle ? 1U : 0U);
}

user::user(runtime& rt, transport_choice transport)
    : runtime_(rt)
    , transport_(transport)
    , buffer_(rt.pool().acquire(memory_bytes).value())
{
    std::fill(buffer_.bytes().begin(), buffer_.bytes().end(), written);
}

void user::start(const fabric::endpoint& remote)
{
    busy_ = true;
    down_ = false;
    connection::connect_options options;
    options.transport = transport_;
    async_connect(runtime_, remote, options, [this](error_code error, std::unique_ptr<connection::connection> made) {
        if (error.failed()) {
            busy_ = false; // whoever was there has been killed
            return;
        }
        over_ = std::move(made);
        over_->on_down([this](error_code) {
            down_ = true;
            check_rest();
        });
        receiving_ = true;
        transfer::async_receive(*over_, [this](error_code failed, const transfer::message& name) {
            receiving_ = false;
            const auto target = transfer::remote_buffer::decode(name.bytes());
            if (failed.failed() || !target) {
                check_rest();
                return;
            }
            target_ = *target;
            for (std::size_t slot = 0; slot != outstanding_max; ++slot) {
                use(slot);
            }
        });
    });
}

void user::use(std::size_t slot)
{
    constexpr std::array<std::size_t, 4> sizes{64, 4'096, 32'768, memory_bytes / outstanding_max};
    const auto bytes = sizes.at(turn_++ % sizes.size());
    const auto at = slot * (memory_bytes / outstanding_max);
    const auto here = buffer_.slice(at, bytes);
    const auto there = target_.slice(at, bytes);
    under_way_.at(slot) = true;
    const auto done = [this, slot](error_code error) { ended(slot, error); };
    if (turn_ % 2 == 0) {
        transfer::async_read(*over_, here, there, done);
    } else {
        transfer::async_write(*over_, here, there, done);
    }
}

void user::ended(std::size_t slot, error_code error)
{
    faults_ += under_way_.at(slot) ? 0U : 1U;
    under_way_.at(slot) = false;
    if (error.failed()) {
        ++failed_;
        check_rest();
        return;
    }
    ++succeeded_;
    if (!down_) {
        use(slot);
    } else {
        check_rest();
    }
}

void user::check_rest()
{
    const bool quiet = std::none_of(under_way_.begin(), under_way_.end(), [](bool one) { return one; });
    if (down_ && quiet && !receiving_ && over_) {
        over_->close([this] { busy_ = false; }); // every lane is fenced
        over_.reset();
    }
}

} // namespace penstock::kill_test
