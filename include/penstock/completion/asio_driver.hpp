#pragma once

// Runs a poller on an Asio executor: spins while completions come, then arms the poller and sleeps in the executor.

#include <penstock/completion/poller.hpp>

#include <boost/asio/any_io_executor.hpp>

#include <chrono>
#include <cstdint>
#include <memory>

namespace penstock::completion {

/// How to wait for completions: one policy, whose numbers make it busy, event-driven, or adaptive, which is the default.
struct poll_options {
    std::chrono::microseconds spin{
        100}; ///< polling without result before it sleeps; 0: at once; spin_forever: never sleeps
    std::uint32_t turns_per_post = 32; ///< idle turns between two chances for the executor's other handlers; at least 1
    std::uint32_t busy_turns_per_post = 64; ///< likewise of turns that found something

    static constexpr std::chrono::microseconds spin_forever = std::chrono::microseconds::max();

    /// Shortest latency, for a core of its own.
    static constexpr poll_options busy() noexcept
    {
        poll_options made;
        made.spin = spin_forever;
        return made;
    }

    /// Fewest cycles: sleeps whenever there is nothing to do. Costs a system call or three and a wake-up each time.
    static constexpr poll_options event() noexcept
    {
        poll_options made;
        made.spin = std::chrono::microseconds(0);
        made.turns_per_post = 1;
        return made;
    }
};

struct driver_statistics {
    std::uint64_t posts = 0;  ///< to the executor
    std::uint64_t spins = 0;  ///< turns that found nothing
    std::uint64_t sleeps = 0; ///< in the executor, until the poller's descriptor is readable
};

/// Keeps the executor busy only while the poller has outstanding operations or holds.
///
/// The executor must run its handlers on one thread at a time.
/// Ownership: destroy it before the poller, and before the executor's context; else the program ends with a message. Its destructor,
/// which may run in a handler that the poller calls, leaves nothing in the executor that touches it.
class asio_driver {
public:
    /// Throws system_error: invalid_argument (no turns per post).
    asio_driver(boost::asio::any_io_executor executor, poller& driven, const poll_options& options);
    asio_driver(const asio_driver&) = delete;
    asio_driver& operator=(const asio_driver&) = delete;
    ~asio_driver();

    const driver_statistics& statistics() const noexcept;

private:
    struct state;
    std::shared_ptr<state> state_; // shared with the one handler in the executor
};

} // namespace penstock::completion
