#pragma once

// A lane on the null fabric, in a runtime of its own.

#include "support/null_fabric.hpp"

#include <penstock/connection/lane.hpp>
#include <penstock/connection/runtime.hpp>

#include <boost/asio/io_context.hpp>

#include <array>
#include <memory>

namespace penstock::test {

/// Members are destroyed in reverse order: the device outlives the runtime, whose poller watches its queue.
struct null_lane {
    static constexpr std::uint32_t depth = 128;

    std::unique_ptr<fabric::provider> provider = make_null_provider();
    runtime_device device{};
    boost::asio::io_context context{1};
    runtime rt{context.get_executor(), options()};
    std::array<std::byte, 4'096> memory{};
    std::unique_ptr<connection::lane> lane;

    null_lane()
    {
        device.provider = provider.get();
        device.device = provider->open().value();
        device.domain = device.device->allocate_protection_domain().value();
        device.completions = device.device->create_completion_queue(depth).value();
        rt.poller().add(*device.completions);
        rt.poller().remove(*rt.device(fabric::transport::tcp)->completions); // its turns are not the lane's
        connection::lane_options wanted;
        wanted.send_depth = depth;
        wanted.receives = 0;
        wanted.sends = 0;
        lane = connection::lane::create(rt, device, wanted).value();
    }

    fabric::local_segment local() { return {memory.data(), 64, 1}; }

private:
    static runtime_options options()
    {
        runtime_options wanted;
        wanted.transport = transport_choice::tcp;
        return wanted;
    }
};

} // namespace penstock::test
