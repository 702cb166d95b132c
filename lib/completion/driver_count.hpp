#pragma once

// The drivers that use an execution context: one that outlives it would touch it in its destructor.

#include "completion/contract.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/execution_context.hpp>

#include <atomic>

namespace penstock::completion {

/// A service, because a context destroys its services after all its handlers, which may own drivers.
/// Threads: any.
class driver_count final : public boost::asio::execution_context::service {
public:
    inline static boost::asio::execution_context::id id;

    explicit driver_count(boost::asio::execution_context& owner)
        : service(owner)
    {}
    ~driver_count() override
    {
        require(count_ == 0, "destroy the driver, or the runtime, before its executor's context");
    }

    void add() noexcept { ++count_; }
    void remove() noexcept { --count_; }
    bool none() const noexcept { return count_ == 0; }

private:
    void shutdown() override {}

    std::atomic<std::size_t> count_{0};
};

inline driver_count& drivers_of(const boost::asio::any_io_executor& executor)
{
    return boost::asio::use_service<driver_count>(boost::asio::query(executor, boost::asio::execution::context));
}

} // namespace penstock::completion
