#pragma once

// Memory of ours that a peer may reach, and how it is taken back. docs/release-contract.md tells the whole.

#include <penstock/connection/connection.hpp>
#include <penstock/memory/memory_pool.hpp>
#include <penstock/transfer/remote_buffer.hpp>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/async_result.hpp>

#include <chrono>
#include <memory>
#include <utility>

namespace penstock::transfer {

class exposure_operation;
class exposure;

struct revoke_options {
    /// How long the peer may take to end its own work on the memory. After that the key dies under it, which costs the lane of
    /// whatever comes late.
    std::chrono::milliseconds revoke_grace{100};
    /// How long the invalidation may take behind other work of ours; after that its lane is given up.
    std::chrono::milliseconds invalidate_limit{1'000};
    /// How long the lanes given up may take to end; after that a buffer of the pool is quarantined.
    std::chrono::milliseconds fence_limit{30'000};
};

struct expose_options {
    time_point expires = time_point_never; ///< on the runtime's clock: then it is revoked, as by async_revoke
    revoke_options revoke{};               ///< for when it expires or is destroyed, and async_revoke's default
};

using expose_handler = boost::asio::any_completion_handler<void(error_code, exposure)>;
using revoke_handler = boost::asio::any_completion_handler<void(error_code)>;

/// Memory that the peer of one connection may reach, until it is revoked. While there is one the executor's run() goes on: the
/// peer's work may need the poller.
///
/// Destroying one that is not revoked: with a buffer of its own it is revoked in the background, and the buffer goes back to the pool
/// after the fence; over memory of the caller's, its lanes go to ERROR at once, and the caller cannot know when the peer is
/// out: only after connection::close() has told `fenced`. So give it the buffer, or revoke. On a device without windows no lane is lost
/// by that: the registration is taken back before the destructor returns.
///
/// Ownership: child of the runtime. It may outlive its connection.
/// Threads: the runtime's executor.
class exposure {
public:
    exposure() = default;
    exposure(exposure&&) noexcept = default;
    exposure& operator=(exposure&& other) noexcept;
    ~exposure();

    explicit operator bool() const noexcept { return operation_ != nullptr; }

    /// What the peer needs to know; empty when async_expose failed.
    const remote_buffer& remote() const noexcept;

    /// Takes the memory back: asks the peer to end its work, invalidates the keys, and where a lane is dead waits until it is destroyed.
    /// *Completion signature.* void(error_code).
    /// *Completion means* that nobody can touch the memory any more.
    /// *Lifetime.* The memory is the peer's until then. Afterwards take_buffer() gives back what was moved in. This object may be
    /// destroyed meanwhile.
    /// *Errors.* fence_failed: the buffer is quarantined, take_buffer() is empty. Over memory of the caller's that error does
    /// not come: the operation stays pending. wrong_state: async_revoke is pending already. An empty exposure must not be revoked.
    /// *Cancellation and deadline.* None: its own limits bound it.
    /// *Threads.* The runtime's executor. *Allocation.* None of its own.
    template <class Token>
    auto async_revoke(const revoke_options& options, Token&& token)
    {
        return boost::asio::async_initiate<Token, void(error_code)>(
            [this](revoke_handler handler, const revoke_options& wanted) { start_revoke(&wanted, std::move(handler)); },
            token, options);
    }
    /// With the options it was exposed with.
    template <class Token>
    auto async_revoke(Token&& token)
    {
        return boost::asio::async_initiate<Token, void(error_code)>(
            [this](revoke_handler handler) { start_revoke(nullptr, std::move(handler)); }, token);
    }

    /// The buffer that was moved in; empty before the end, after fence_failed, and when there was none.
    memory::buffer take_buffer() noexcept;

private:
    friend class exposure_operation;
    explicit exposure(std::shared_ptr<exposure_operation> operation) noexcept
        : operation_(std::move(operation))
    {}
    void start_revoke(const revoke_options* options, revoke_handler handler);

    std::shared_ptr<exposure_operation> operation_;
};

void start_expose(connection::connection& over, memory::local_buffer what, memory::buffer owned, fabric::access rights,
    const expose_options& options, expose_handler handler);

/// Lets the peer reach `what`, by a memory window on each lane that is up, or where devices have none (see
/// connection_properties::memory_windows) by a registration of its own. A lane that has no free window or no room on its send
/// queue, and one that comes up later, is left out. Nothing is sent: remote().encode() goes into a message of the caller's.
///
/// *Completion signature.* void(error_code, exposure).
/// *Completion means* that the keys work.
/// *Lifetime.* The memory is the peer's until async_revoke() completes; if this fails, until this completes.
/// *Errors.* invalid_argument (empty, other than remote rights, or across two regions of a registration), connection_lost (no lane
/// is up), send_queue_full (no window or room on any lane), registration_refused, no_memory, or a completion_status.
/// *Cancellation.* Terminal: ends with `cancelled`, fenced.
/// *Threads.* The runtime's executor. *Allocation.* One block for each exposure.
template <class Token>
auto async_expose(connection::connection& over, memory::local_buffer what, fabric::access rights,
    const expose_options& options, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code, exposure)>(
        [&over](expose_handler handler, memory::local_buffer slice, fabric::access allowed,
            const expose_options& wanted) { start_expose(over, slice, {}, allowed, wanted, std::move(handler)); },
        token, what, rights, options);
}

template <class Token>
auto async_expose(connection::connection& over, memory::local_buffer what, fabric::access rights, Token&& token)
{
    return async_expose(over, what, rights, expose_options{}, std::forward<Token>(token));
}

/// The same for all of a buffer, which belongs to the exposure until exposure::take_buffer(), also if this fails.
template <class Token>
auto async_expose(connection::connection& over, memory::buffer&& what, fabric::access rights,
    const expose_options& options, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code, exposure)>(
        [&over](expose_handler handler, memory::buffer owned, fabric::access allowed, const expose_options& wanted) {
            const auto slice = owned.slice();
            start_expose(over, slice, std::move(owned), allowed, wanted, std::move(handler));
        },
        token, std::move(what), rights, options);
}

template <class Token>
auto async_expose(connection::connection& over, memory::buffer&& what, fabric::access rights, Token&& token)
{
    return async_expose(over, std::move(what), rights, expose_options{}, std::forward<Token>(token));
}

} // namespace penstock::transfer
