#pragma once

// Runs a poller on an Asio executor: spins while completions come, then arms the poller and sleeps in the executor.

#include <penstock/completion/poller.hpp>

#include <boost/asio/any_io_executor.hpp>

#include <chrono>
#include <cstdint>
#include <memory>

namespace penstock::completion {

struct poll_options {
    std::chrono::microseconds spin{100}; ///< polling without result before it sleeps; 0: sleeps at once
    std::uint32_t turns_per_post = 32;   ///< idle turns between two chances for the executor's other handlers
};

struct driver_statistics {
    std::uint64_t posts = 0;
    std::uint64_t sleeps = 0;
};

/// Keeps the executor busy only while the poller has outstanding operations or holds.
///
/// The executor must run its handlers on one thread at a time.
/// Ownership: destroy it before the poller. Its destructor leaves nothing in the executor that touches it.
class asio_driver {
public:
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
