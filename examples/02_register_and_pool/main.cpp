// 02_register_and_pool [auto|verbs|tcp]
//
// Memory that a device may touch: buffers from the runtime's pool, slices of them, and what happens when there are no more.
// See README.md.

#include <penstock/connection/runtime.hpp>
#include <penstock/core/byte_size.hpp>

#include <boost/asio/io_context.hpp>

#include <cstdio>
#include <exception>
#include <stdexcept>
#include <utility>
#include <vector>

namespace asio = boost::asio;
using namespace penstock::literals;

namespace {

void expect(bool condition, const char* what)
{
    if (!condition) {
        throw std::runtime_error(what);
    }
}

void buffers_and_slices(penstock::runtime& rt)
{
    // Registered already: nothing is pinned here, and it costs no system call.
    penstock::memory::buffer buffer = rt.pool().acquire().value();
    expect(buffer.size() == 64_KiB, "a buffer has the size that was asked for");

    // An operation names a slice: a piece of a buffer, without owning it. Its range is checked, in release builds too.
    const auto slice = buffer.slice(4'096, 1'000);
    expect(slice.data() == buffer.data() + 4'096, "a slice is a view");
    bool refused = false;
    try {
        (void)buffer.slice(64_KiB - 10, 11);
    } catch (const std::out_of_range&) {
        refused = true;
    }
    expect(refused, "a slice beyond the buffer is refused");

    // What a device is told: address, length, and the key of the registration on that device.
    for (std::size_t device = 0; device != 1; ++device) {
        const auto segment = slice.segment(device);
        std::printf("slice: %u bytes, local key 0x%x\n", segment.length, segment.lkey);
    }

    const penstock::memory::buffer moved = std::move(buffer); // one owner at a time
    expect(!buffer && moved, "a buffer can be moved");        // NOLINT(bugprone-use-after-move): that is what is shown
} // and here it goes back to the pool: only when no operation uses it any more

void exhaustion(penstock::runtime& rt)
{
    std::vector<penstock::memory::buffer> all;
    auto next = rt.pool().acquire();
    for (; next; next = rt.pool().acquire()) {
        all.push_back(std::move(*next));
    }
    std::printf("pool: %zu buffers, then: %s\n", all.size(), next.error().message().c_str());
    expect(next.error() == penstock::errc::pool_exhausted, "the limit is an error that can be handled");
    expect(all.size() == 16, "1 MiB in pieces of 64 KiB");

    all.pop_back();
    expect(rt.pool().acquire().has_value(), "what is given back can be had again");
}

} // namespace

int main(int count, char** values)
try {
    asio::io_context io(1);
    penstock::runtime_options options;
    options.transport = penstock::parse_transport_choice(count > 1 ? values[1] : "tcp").value();
    options.pool.slice_bytes = 64_KiB;  // what acquire() gives
    options.pool.arena_bytes = 256_KiB; // registered at a time, as needed
    options.pool.bytes_max = 1_MiB; // pinned at most: a limit is never found out by the machine's memory running out
    penstock::runtime rt(io.get_executor(), options);

    buffers_and_slices(rt);
    exhaustion(rt);

    const auto used = rt.pool().statistics();
    std::printf("pool: %s registered of at most %s\n", penstock::format_byte_size(used.bytes_registered).c_str(),
        penstock::format_byte_size(used.bytes_max).c_str());
    return used.bytes_registered == 1_MiB ? 0 : 1;
} catch (const std::exception& thrown) {
    std::fprintf(stderr, "02_register_and_pool: %s\n", thrown.what());
    return 1;
}
