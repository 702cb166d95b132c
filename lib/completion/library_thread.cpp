#include <penstock/completion/library_thread.hpp>

#include "completion/contract.hpp"
#include "completion/driver_count.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace penstock::completion {
namespace {

std::string described(const std::exception_ptr& thrown)
{
    try {
        std::rethrow_exception(thrown);
    } catch (const std::exception& error) {
        return error.what();
    } catch (...) {
        return "not a std::exception";
    }
}

} // namespace

struct library_thread::state {
    explicit state(library_thread_options wanted)
        : options(std::move(wanted))
    {}

    void loop() noexcept
    {
        for (;;) {
            try {
                (void)context.run();
                return;
            } catch (...) {
                caught(std::current_exception());
            }
        }
    }

    void caught(std::exception_ptr thrown)
    {
        if (options.on_exception) {
            options.on_exception(std::move(thrown));
        } else if (options.log.enabled(log_level::error)) {
            options.log.error("a handler threw: " + described(thrown));
        }
    }

    library_thread_options options;
    boost::asio::io_context context{1};
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work{context.get_executor()};
    std::thread thread;
};

library_thread::library_thread(library_thread_options options)
    : state_(std::make_unique<state>(std::move(options)))
    , executor_(state_->context.get_executor())
{
    state_->thread = std::thread([running = state_.get()] { running->loop(); });
}

library_thread::~library_thread()
{
    if (inherited()) {
        static auto& kept
            = *new std::vector<std::unique_ptr<state>>; // the thread is the parent's and cannot be joined here
        state_->thread.detach();
        kept.push_back(std::move(state_));
        return;
    }
    require(!is_this_thread(), "a library_thread is not destroyed by itself");
    boost::asio::post(executor_, [ending = state_.get(), executor = executor_] {
        require(drivers_of(executor).none(), "destroy the driver, or the runtime, before its library_thread");
        ending->context.stop();
    });
    state_->thread.join();
}

bool library_thread::is_this_thread() const noexcept
{
    return std::this_thread::get_id() == state_->thread.get_id();
}

} // namespace penstock::completion
