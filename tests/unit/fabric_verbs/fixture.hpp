#pragma once

// Both sides of a connection in one thread, on the machine's first verbs device.

#include <penstock/fabric/verbs.hpp>

#include "support/catch.hpp"

#include <deque>
#include <functional>
#include <vector>

namespace penstock::fabric::test {

using namespace std::chrono_literals;

constexpr std::uint32_t depth = 16;

/// Calls `turn` until `done`, and fails the test when that takes ten seconds.
void wait_for(const char* what, const std::function<bool()>& done, const std::function<void()>& turn);

/// One side's channel with the events that came out of it.
class side {
public:
    explicit side(provider& from);

    void poll();
    /// The next event about `source`; null: the next connect request.
    connection_event take(const connection* source, const char* what, side& other);
    std::size_t events_about(const connection* source) const;

    std::unique_ptr<connection_channel> channel;
    std::deque<connection_event> events;
};

class fabric_fixture {
public:
    fabric_fixture();

    queue_pair_options options() const;
    std::unique_ptr<queue_pair> make_pair(queue_pair_options changed) const;
    std::unique_ptr<queue_pair> make_pair() const { return make_pair(options()); }

    void turn();
    /// The next completion; fails when none comes.
    work_completion next();
    work_completion expect_success(std::uint64_t id, completion_opcode operation);
    work_completion expect_status(std::uint64_t id, completion_status status);
    void expect_no_completion();

    connection_event active_event(const connection& about, connection_event_type expected);
    connection_event passive_event(const connection& about, connection_event_type expected);
    connection_event request();

    endpoint address;
    std::unique_ptr<provider> source = make_verbs_provider();
    std::unique_ptr<device> hardware;
    std::unique_ptr<protection_domain> domain;
    std::unique_ptr<completion_queue> completions;
    side active;
    side passive;

private:
    std::deque<work_completion> told_;
};

/// A connected pair of queue pairs with a registered buffer each.
class connected_fixture : public fabric_fixture {
public:
    explicit connected_fixture(const path_options& path = {});
    ~connected_fixture();

    local_segment near_bytes(std::size_t offset, std::uint32_t length) const;
    local_segment far_bytes(std::size_t offset, std::uint32_t length) const;

    static constexpr std::size_t size = 64 * 1024;
    std::vector<std::byte> near_memory = std::vector<std::byte>(size);
    std::vector<std::byte> far_memory = std::vector<std::byte>(size);
    std::unique_ptr<memory_region> near_region;
    std::unique_ptr<memory_region> far_region;
    std::unique_ptr<queue_pair> near;
    std::unique_ptr<queue_pair> far;
    std::unique_ptr<listener> door;
    std::unique_ptr<connection> outgoing;
    std::unique_ptr<connection> incoming;
};

std::span<const std::byte> bytes_of(std::string_view text);

} // namespace penstock::fabric::test
