#pragma once

// Many transfers as one operation.

#include <penstock/transfer/flow.hpp>
#include <penstock/transfer/traffic.hpp>

#include <boost/asio/async_result.hpp>

#include <cstddef>
#include <utility>
#include <vector>

namespace penstock::transfer {

/// Reads and writes in any mix, between registered memory and memory of one peer. May be used again and again.
///
/// Lifetime: it stays where it is from async_transfer() until the handler is called; destroying it earlier ends the program with a message,
/// unless the runtime has ended.
/// Threads: the runtime's executor. Allocation: in the constructor only.
class batch {
public:
    explicit batch(std::size_t extents_max);
    batch(const batch&) = delete;
    batch& operator=(const batch&) = delete;
    ~batch();

    /// All of `into`, from the beginning of the peer's memory. What they name is looked at when the batch starts.
    /// Errors: wrong_state (in flight), out_of_range (extents_max are in it).
    error_code read(const memory::local_buffer& into, const remote_buffer& from);
    error_code write(const memory::local_buffer& from, const remote_buffer& to);
    error_code clear();

    std::size_t size() const noexcept { return extents_.size(); }
    /// How the extent ended: valid after the completion. An extent without an error has been transferred, also when the batch as a
    /// whole was cancelled or failed.
    error_code error(std::size_t index) const { return extents_.at(index).error; }
    bool in_flight() const noexcept { return flow_.active(); }

    /// For async_transfer().
    void begin(connection::connection& over, flow::handler_type handler, const operation_options& options);

private:
    class own_flow final : public flow {
        void ended() noexcept override {}
    };

    error_code add(fabric::opcode operation, const memory::local_buffer& local, const remote_buffer& remote);

    std::size_t extents_max_;
    std::vector<extent> extents_;
    std::vector<fabric::send_request> requests_;
    std::vector<fabric::local_segment> pieces_;
    own_flow flow_;
};

namespace detail {

struct start_batch {
    connection::connection* over;
    batch* what;

    template <class Handler>
    void operator()(Handler&& given, const operation_options& options) const
    {
        if (what->in_flight()) {
            refuse(std::forward<Handler>(given), over->owner().executor(), make_error_code(errc::wrong_state));
            return;
        }
        what->begin(*over, flow::handler_type(std::forward<Handler>(given)), options);
    }
};

} // namespace detail

/// Transfers all extents of a batch: as many as there is room for behind one doorbell for each lane, with one signaled request each; the rest
/// when room comes back. Extents longer than a message are split, those longer than operation_options::stripe_bytes striped.
/// Nothing orders them.
///
/// *Completion signature.* void(error_code): the first error of any extent; batch::error() tells them one by one. *Completion means* for
/// each extent without an error: a write is placed, the bytes of a read are here; and nothing of the batch is in flight.
/// *Lifetime.* The batch and all memory named in it, until the completion.
/// *Errors.* As for async_read(connection); besides wrong_state (in flight already). A lane that dies costs the extents that were posted
/// on it; the others go on by the lanes that are left. An exposure that is revoked costs the extents on it.
/// *Cancellation and deadline.* As for async_read(connection). Extents that were not posted by then are told timed_out or cancelled.
/// *Threads* as there. *Allocation.* That of any_completion_handler, by the handler's allocator.
template <class Token>
auto async_transfer(connection::connection& over, batch& what, const operation_options& options, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code)>(detail::start_batch{&over, &what}, token, options);
}

template <class Token>
auto async_transfer(connection::connection& over, batch& what, Token&& token)
{
    return async_transfer(over, what, operation_options{}, std::forward<Token>(token));
}

} // namespace penstock::transfer
