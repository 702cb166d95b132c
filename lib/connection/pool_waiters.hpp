#pragma once

// Who waits for memory of a pool: first come, first served.

#include <penstock/connection/memory_operations.hpp>

#include <list>
#include <memory>
#include <utility>

namespace penstock::connection {

/// Threads: the runtime's, apart from the listener, which whoever gives a buffer back calls.
class pool_waiters {
public:
    using handler = boost::asio::any_completion_handler<void(error_code, memory::buffer)>;

    pool_waiters(runtime& rt, memory::memory_pool& pool, std::size_t most);
    pool_waiters(const pool_waiters&) = delete;
    pool_waiters& operator=(const pool_waiters&) = delete;
    /// Whoever still waits is destroyed without being called.
    ~pool_waiters();

    void start(std::size_t bytes, const acquire_options& options, handler call);

private:
    class listener;
    struct waiter {
        waiter(std::size_t wanted, handler called)
            : bytes(wanted)
            , call(std::move(called))
        {}

        std::size_t bytes;
        handler call;
        completion::timer deadline;
    };
    using waiters = std::list<waiter>;

    void serve();
    void end(waiters::iterator which, error_code why);
    handler take(waiters::iterator which);

    runtime& runtime_;
    memory::memory_pool& pool_;
    std::size_t most_;
    waiters waiting_;
    std::shared_ptr<listener> listener_;
};

} // namespace penstock::connection
