// operation_cost WHAT COUNT
//
// COUNT one-sided reads, one after the other, on a fabric that does nothing (tests/support/null_fabric). WHAT:
//
//     bare      post one request, poll one completion, and nothing else: what the others are measured against
//     polled    transfer::async_read with a callback, the poller polled in a loop
//     driven    the same with the poller driven inside an io_context
//     awaited   the same, awaited in a coroutine
//
// tools/operation-cost runs it under callgrind and counts the instructions of one operation.

#include "support/null_lane.hpp"

#include <penstock/transfer/transfer.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <cstdio>
#include <cstdlib>
#include <string_view>

using namespace penstock;
using namespace penstock::fabric;
using test::null_lane;

namespace {

constexpr remote_segment target{0x1000, 1};

void bare(std::uint64_t count)
{
    null_lane world;
    auto& pair = world.lane->pair();
    auto& completions = *world.device.completions;
    const local_segment local = world.local();
    send_request request;
    request.operation = opcode::read;
    request.local = {&local, 1};
    request.remote = target;
    std::array<work_completion, 64> done;
    for (; count != 0; --count) {
        request.id = count;
        if (pair.post_send({&request, 1}).posted != 1) {
            std::abort();
        }
        if (completions.poll(done) != 1 || done[0].id != count || done[0].status != completion_status::success) {
            std::abort();
        }
    }
}

struct repeated {
    null_lane& world;
    std::uint64_t& left;

    void operator()(error_code error) const
    {
        if (error.failed()) {
            std::abort();
        }
        if (--left != 0) {
            transfer::async_read(*world.lane, world.local(), target, repeated{world, left});
        }
    }
};

void polled(std::uint64_t count)
{
    null_lane world;
    repeated{world, ++count}({});
    while (count != 0) {
        (void)world.rt.poller().poll();
    }
}

void driven(std::uint64_t count)
{
    null_lane world;
    repeated{world, ++count}({});
    (void)world.context.run();
    if (count != 0) {
        std::abort();
    }
}

void awaited(std::uint64_t count)
{
    null_lane world;
    boost::asio::co_spawn(
        world.context,
        [](null_lane& on, std::uint64_t& left) -> boost::asio::awaitable<void> {
            for (; left != 0; --left) {
                co_await transfer::async_read(*on.lane, on.local(), target, boost::asio::use_awaitable);
            }
        }(world, count),
        boost::asio::detached);
    (void)world.context.run();
    if (count != 0) {
        std::abort();
    }
}

} // namespace

int main(int count, char** values)
{
    const std::string_view what = count == 3 ? values[1] : "";
    const auto operations = count == 3 ? std::strtoull(values[2], nullptr, 10) : 0;
    void (*run)(std::uint64_t) = what == "bare" ? bare
        : what == "polled"                      ? polled
        : what == "driven"                      ? driven
        : what == "awaited"                     ? awaited
                                                : nullptr;
    if (run == nullptr || operations == 0) {
        std::fputs("usage: operation_cost bare|polled|driven|awaited COUNT\n", stderr);
        return 2;
    }
    run(operations);
    return 0;
}
