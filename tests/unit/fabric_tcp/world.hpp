#pragma once

// Two sides of the tcp fabric in one thread, and a peer that is only a socket.

#include "fabric/tcp/frame.hpp"
#include "support/catch.hpp"

#include <penstock/fabric/tcp.hpp>

#include <functional>
#include <string>
#include <vector>

namespace penstock::test {

using namespace penstock::fabric;

inline constexpr access all_rights
    = access::local_write | access::remote_write | access::remote_read | access::remote_atomic | access::window_bind;

template <class T>
T must(result<T> made)
{
    if (!made)
        FAIL("set-up failed: " << made.error().message());
    return std::move(*made);
}

struct side_options {
    std::size_t bytes = 1U << 16U;
    std::uint32_t depth = 64;
    path_options path{};
};

/// One end with everything it needs.
struct side {
    side(provider& from, const side_options& options = {});

    local_segment segment(std::size_t offset, std::size_t length) const;
    remote_segment remote(std::size_t offset) const;
    void receive(std::uint64_t id, std::size_t offset, std::size_t length);
    void send(const send_request& request, std::vector<local_segment> segments);
    void poll();
    work_completion take();

    side_options options;
    std::vector<std::byte> memory;
    std::unique_ptr<device> hardware;
    std::unique_ptr<protection_domain> domain;
    std::unique_ptr<memory_region> region;
    std::unique_ptr<completion_queue> completions;
    std::unique_ptr<connection_channel> channel;
    std::unique_ptr<listener> listening;
    std::unique_ptr<queue_pair> pair;
    std::unique_ptr<connection> link;
    std::vector<connection_event> events;
    std::vector<work_completion> done;
};

/// Polls both until `reached`; fails loudly after ten seconds.
void run_until(const char* what, std::vector<side*> sides, const std::function<bool()>& reached);
work_completion next_completion(side& of, std::vector<side*> sides);
bool has_event(const side& at, connection_event_type type);

/// Connects two sides.
void connect(side& active, side& passive);

/// A peer without a library: it shakes hands properly and then says what it likes.
class raw_peer {
public:
    /// A bare connection to the listener.
    explicit raw_peer(const endpoint& to);
    ~raw_peer();
    raw_peer(const raw_peer&) = delete;
    raw_peer& operator=(const raw_peer&) = delete;

    void send(std::span<const std::byte> bytes);
    void send(const tcp::frame_header& frame, std::span<const std::byte> payload = {});
    void send(const tcp::handshake_header& header);
    /// Bytes that have come; false once the other side has closed.
    bool receive(std::vector<std::byte>& into);
    /// CONNECT ... ACCEPT, READY with `at`, which listens; its queue pair is established then.
    void shake_hands(side& at);

    /// The frames that have come, payload dropped.
    std::vector<tcp::frame_header> frames(side& at, std::size_t wanted);

private:
    int socket_;
    std::vector<std::byte> received_;
};

std::size_t open_descriptors();

} // namespace penstock::test
