#pragma once

// An exposure from the first bind to the fence: does what the ladder says, and tells it what happened.

#include "transfer/revocation.hpp"

#include <penstock/completion/timer.hpp>
#include <penstock/transfer/exposure.hpp>
#include <penstock/transfer/exposure_ledger.hpp>

#include <array>
#include <memory>

namespace penstock::transfer {

/// Ownership: shared by the runtime from start() to the end, by its handle, and by its requests in flight.
/// Threads: the runtime's executor.
class exposure_operation final : public connection::lane_observer,
                                 public std::enable_shared_from_this<exposure_operation> {
public:
    exposure_operation(connection::connection& over, memory::local_buffer what, memory::buffer owned,
        fabric::access rights, const expose_options& options);

    void start(expose_handler handler);
    void revoke(const revoke_options* options, revoke_handler handler);
    void abandon() noexcept;
    const remote_buffer& remote() const noexcept { return remote_; }
    memory::buffer take_buffer() noexcept { return ended_ ? std::move(owned_) : memory::buffer{}; }

    void released();
    void connection_gone() noexcept;
    void lane_lost(std::size_t index, error_code why) override;
    void lane_fenced(std::size_t index) override;

private:
    using stage = revocation::stage;

    /// With windows its index is the lane's; with regions it is the device's.
    struct handle {
        connection::lane* on = nullptr; // dangles once the lane is lost: compare before use
        fabric::memory_window* window = nullptr;
        std::unique_ptr<fabric::memory_region> region;
    };

    error_code check() const noexcept;
    error_code begin();
    error_code bind(std::size_t index, connection::lane& on);
    error_code register_on(connection::lane& on);
    void bound(std::size_t index, error_code error);
    void announce();
    void cancel();

    void perform(revocation::step step);
    void ask_peer();
    void invalidate(std::size_t index);
    void invalidated(std::size_t index, error_code error);
    connection::lane* live_lane(std::size_t index) noexcept;

    void later() noexcept;
    void try_again();
    void start_timer() noexcept;
    void time_passed();
    void finish(error_code why);
    void finish_expose(error_code why);

    runtime& runtime_;
    connection::connection* connection_; // null once it is gone
    memory::local_buffer memory_;
    memory::buffer owned_;
    fabric::access rights_;
    expose_options options_;
    bool windows_;
    remote_buffer remote_;
    std::uint64_t id_ = 0;
    std::array<handle, revocation::handles_max> handles_;
    revocation ladder_{revocation::handles{}};
    completion::timer timer_; // the stage's; in `open` also what starts a revocation
    completion::timer again_; // for what the queues had no room for:
    revocation::handles unposted_{};
    bool unasked_ = false;
    stage timed_ = stage::binding; // whose timer runs
    expose_handler on_exposed_;
    revoke_handler on_revoked_;
    error_code failure_; // why it cannot be exposed
    error_code outcome_;
    bool abandoned_ = false;
    bool ended_ = false;
};

} // namespace penstock::transfer
