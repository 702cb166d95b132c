#pragma once

// Registered memory, waited for: a buffer of the pool, a registration of the application's own memory.

#include <penstock/completion/control_thread.hpp>
#include <penstock/completion/handler.hpp>
#include <penstock/connection/runtime.hpp>
#include <penstock/memory/memory_pool.hpp>
#include <penstock/memory/registration.hpp>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/async_result.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <span>
#include <utility>

namespace penstock {

struct acquire_options {
    time_point deadline = time_point_never; ///< on the runtime's clock
};

namespace detail {

void start_acquire(runtime& rt, std::size_t bytes, const acquire_options& options,
    boost::asio::any_completion_handler<void(error_code, memory::buffer)> handler);

template <class Handler>
struct register_job final : completion::control_job {
    register_job(runtime& rt, std::span<std::byte> wanted, const memory::registration_options& options, Handler call)
        : from(rt)
        , bytes(wanted)
        , how(options)
        , handler(std::move(call))
    {}

    void run() noexcept override
    {
        if (cancelled->load()) {
            error = errc::cancelled;
        } else {
            made = from.registrations().register_memory(bytes, how, error);
        }
    }

    void deliver() override
    {
        boost::asio::get_associated_cancellation_slot(handler).clear();
        if (error.failed() && !made.refusal().empty()) {
            from.log().warning("memory was not registered: " + made.refusal());
        }
        completion::call_handler(std::move(handler), from.executor(), error, std::move(made));
    }

    runtime& from;
    std::span<std::byte> bytes;
    memory::registration_options how;
    Handler handler;
    std::shared_ptr<std::atomic<bool>> cancelled = std::make_shared<std::atomic<bool>>(false);
    error_code error{};
    memory::registration made;
};

template <class Handler>
struct deregister_job final : completion::control_job {
    deregister_job(runtime& rt, memory::registration doomed, Handler call)
        : from(rt)
        , registered(std::move(doomed))
        , handler(std::move(call))
    {}

    void run() noexcept override { error = registered.deregister(); }
    void deliver() override { completion::call_handler(std::move(handler), from.executor(), error); }

    runtime& from;
    memory::registration registered;
    Handler handler;
    error_code error{};
};

} // namespace detail

/// A buffer of the runtime's pool, as soon as there is one.
///
/// *Completion signature.* void(error_code, memory::buffer).
/// *Completion means* that the buffer is the caller's. Whoever asked first is served first, whatever the sizes; memory_pool::acquire()
/// does not wait in that line.
/// *Lifetime.* The runtime must outlive the operation: what still waits when it ends is destroyed without completing.
/// *Errors.* pool_exhausted when `runtime_options::acquires_max` wait or are about to be served, or the pool can never have that much; timed_out at the
/// deadline; cancelled; else what memory_pool::acquire() gives.
/// *Cancellation.* All types, on the runtime's executor; nothing is acquired then.
/// *Threads.* The runtime's executor. *Allocation.* One block while it waits.
template <class Token>
auto async_acquire(runtime& rt, std::size_t bytes, const acquire_options& options, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code, memory::buffer)>(
        [&rt](auto handler, std::size_t wanted, const acquire_options& how) {
            detail::start_acquire(rt, wanted, how, std::move(handler));
        },
        token, bytes, options);
}

/// Registers memory of the application for transfers, on the control thread.
///
/// *Completion signature.* void(error_code, memory::registration).
/// *Completion means* that the memory is registered on every device of the runtime. With an error the handle is empty, and its
/// refusal() is a sentence with the amounts, which is logged too.
/// *Lifetime.* `bytes` must stay mapped until the registration is gone; the runtime must outlive the operation and the registration.
/// *Errors.* registration_refused (`ulimit -l`), registration_budget (`runtime_options::application_bytes_max`), control_queue_full,
/// cancelled, invalid_argument (no bytes), no_memory, forked, or errno.
/// *Cancellation.* All types, as long as the registration has not begun; one that has begun completes as it ends.
/// *Threads.* The runtime's executor. *Allocation.* A few blocks.
template <class Token>
auto async_register(runtime& rt, std::span<std::byte> bytes, const memory::registration_options& options, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code, memory::registration)>(
        [&rt](auto handler, std::span<std::byte> wanted, const memory::registration_options& how) {
            using job_type = detail::register_job<decltype(handler)>;
            auto made = std::make_unique<job_type>(rt, wanted, how, std::move(handler));
            auto* const added = made.get();
            if (auto slot = boost::asio::get_associated_cancellation_slot(added->handler); slot.is_connected()) {
                slot.assign([flag = added->cancelled](boost::asio::cancellation_type) { flag->store(true); });
            }
            std::unique_ptr<completion::control_job> job = std::move(made);
            if (const auto error = rt.control().start(job); error.failed()) {
                boost::asio::get_associated_cancellation_slot(added->handler).clear();
                completion::post_handler(std::move(added->handler), rt.executor(), error, memory::registration());
            }
        },
        token, bytes, options);
}

/// Ends a registration on the control thread. Its destructor does too, but does not tell when.
///
/// *Completion signature.* void(error_code). *Completion means* that no device uses the bytes any more.
/// *Errors.* region_in_use: a window is still bound; the memory stays pinned for good. wrong_state (an empty handle),
/// control_queue_full, forked. *Cancellation.* None. *Threads.* The runtime's executor. *Allocation.* A few blocks.
template <class Token>
auto async_deregister(runtime& rt, memory::registration registered, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code)>(
        [&rt](auto handler, memory::registration doomed) {
            auto made = std::make_unique<detail::deregister_job<decltype(handler)>>(
                rt, std::move(doomed), std::move(handler));
            auto* const added = made.get();
            std::unique_ptr<completion::control_job> job = std::move(made);
            if (const auto error = rt.control().start(job); error.failed()) {
                completion::post_handler(std::move(added->handler), rt.executor(), error);
            }
        },
        token, std::move(registered));
}

} // namespace penstock
