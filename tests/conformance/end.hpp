#pragma once

// The ends of a connection, and requests that own their segments.

#include "conformance/world.hpp"

#include <initializer_list>
#include <optional>
#include <span>
#include <vector>

namespace penstock::conformance {

inline constexpr access every_right
    = access::local_write | access::remote_write | access::remote_read | access::remote_atomic | access::window_bind;

/// Memory that starts on a page, as a pool's would.
class pages {
public:
    explicit pages(std::size_t size);
    std::span<std::byte> bytes() const noexcept { return {start_, size_}; }
    std::byte* at(std::size_t offset) const noexcept { return start_ + offset; }

private:
    std::vector<std::byte> storage_;
    std::byte* start_;
    std::size_t size_;
};

struct end_options {
    std::size_t buffer_bytes = 64 * 1024;
    access rights = every_right;
    std::uint32_t send_depth = 64;
    std::uint32_t receive_depth = 64;
    std::uint32_t segments_max = 4;
    std::uint32_t inline_bytes_max = 0;
    std::uint32_t completion_depth = 256;
    path_options path{};
    shared_receive_queue* shared = nullptr;
    protection_domain* domain = nullptr; ///< null: the node's
    queue* completions = nullptr;        ///< null: one of its own
};

/// One end: memory, a region over it, a queue pair with its completion queue, and what connects it.
class end {
public:
    end(world& home, node& side, const end_options& options = {});

    local_segment segment(std::size_t offset, std::size_t length) const;
    remote_segment remote(std::size_t offset) const;
    std::span<std::byte> bytes(std::size_t offset, std::size_t length) const
    {
        return buffer.bytes().subspan(offset, length);
    }

    /// Posts one receive over part of the buffer.
    void receive(std::uint64_t id, std::size_t offset, std::size_t length, const where& place = where::current());
    /// A receive for messages without bytes.
    void receive_nothing(std::uint64_t id, const where& place = where::current());

    bool in_error() const { return pair->state() == queue_pair_state::error; }
    void expect_in_error(const where& place = where::current());
    void expect_ready(const where& place = where::current());

    world& home;
    node& side;
    end_options options;
    pages buffer;
    std::unique_ptr<memory_region> region;
    std::unique_ptr<queue> owned_completions;
    queue* completions;
    std::unique_ptr<queue_pair> pair;
    std::unique_ptr<connection> link;
};

/// Makes a listener on any port of the target's address.
std::unique_ptr<listener> listen(world& home, const listen_options& options = {});

/// Connects two ends that are in INIT, and waits until both are established.
void connect(world& home, end& active, end& passive, const where& place = where::current());
void connect(world& home, listener& at, end& active, end& passive, const where& place = where::current());

/// A resolved connection towards `remote`.
std::unique_ptr<connection> resolve(world& home, const endpoint& remote, const where& place = where::current());

/// Two connected ends: `a` asked, `b` accepted.
class linked {
public:
    explicit linked(world& home, const end_options& active = {}, const end_options& passive = {});

    end a;
    end b;
};

/// A send request that owns its segments.
struct work {
    send_request request{};
    std::vector<local_segment> segments;

    work& unsignaled()
    {
        request.signaled = false;
        return *this;
    }
    work& fenced()
    {
        request.fence = true;
        return *this;
    }
    work& inlined()
    {
        request.inline_data = true;
        return *this;
    }
    work& solicited()
    {
        request.solicited = true;
        return *this;
    }
};

using segments = std::vector<local_segment>;

work send(std::uint64_t id, segments from);
work send_with_immediate(std::uint64_t id, segments from, std::uint32_t immediate);
work send_with_invalidate(std::uint64_t id, segments from, std::uint32_t key);
work write(std::uint64_t id, segments from, remote_segment to);
work write_with_immediate(std::uint64_t id, segments from, remote_segment to, std::uint32_t immediate);
work read(std::uint64_t id, segments to, remote_segment from);
work compare_swap(
    std::uint64_t id, local_segment old, remote_segment at, std::uint64_t expected, std::uint64_t desired);
work fetch_add(std::uint64_t id, local_segment old, remote_segment at, std::uint64_t addend);
work bind(std::uint64_t id, memory_window& window, const end& over, std::size_t offset, std::size_t length,
    access rights = access::remote_read | access::remote_write | access::remote_atomic);
work local_invalidate(std::uint64_t id, std::uint32_t key);

post_result try_post(queue_pair& pair, std::vector<work> list);
void post(end& from, std::vector<work> list, const where& place = where::current());

/// Binds a window over part of `over` and waits for it.
void bind_and_wait(end& over, memory_window& window, std::size_t offset, std::size_t length,
    access rights = access::remote_read | access::remote_write | access::remote_atomic,
    const where& place = where::current());
std::unique_ptr<memory_window> make_window(end& owner, const where& place = where::current());

/// Bytes that depend on the seed and the place, and their check.
void fill(std::span<std::byte> bytes, std::uint32_t seed);
void fill_with(std::span<std::byte> bytes, std::byte value);
void expect_pattern(std::span<const std::byte> bytes, std::uint32_t seed, const where& place = where::current());
void expect_filled_with(std::span<const std::byte> bytes, std::byte value, const where& place = where::current());

/// A load the compiler may not move or drop: somebody else writes there, and a thread sanitizer is not told.
std::byte peek(const std::byte* at);

std::uint64_t load_u64(const std::byte* at);
void store_u64(std::byte* at, std::uint64_t value);

/// The i-th of a seed's pseudo-random numbers (splitmix64): the same on every run and machine.
class numbers {
public:
    explicit numbers(std::uint64_t seed)
        : state_(seed)
    {}
    std::uint64_t next();
    /// In [0, bound).
    std::size_t below(std::size_t bound) { return static_cast<std::size_t>(next() % bound); }

private:
    std::uint64_t state_;
};

} // namespace penstock::conformance
