#pragma once

// What the two sides of a connection have exposed to each other: our exposures, and our use of the peer's.

#include <penstock/connection/connection.hpp>
#include <penstock/transfer/remote_buffer.hpp>
#include <penstock/transfer/remote_use.hpp>
#include <penstock/transfer/traffic.hpp>

#include <boost/unordered/unordered_flat_map.hpp>

#include <cstdint>
#include <span>
#include <vector>

namespace penstock::transfer {

class exposure_operation;

/// One for each connection, which owns it. Operations on remote buffers say so here; `revoke` and `released` go through here.
/// Threads: the runtime's executor.
class exposure_ledger final : public connection::extension {
public:
    /// The connection's, made when it is first asked for.
    static exposure_ledger& of(connection::connection& over);

    explicit exposure_ledger(connection::connection& over);
    ~exposure_ledger() override;

    /// Before work on `what` is posted; each success is paid back by one end_use(). Allocation: none.
    /// Errors: exposure_revoked (by the peer, or with its epoch), send_queue_full (exposures in use).
    error_code begin_use(const remote_buffer& what) noexcept;
    /// After that work has ended. Answers the peer's revocation where that was due.
    void end_use(const remote_buffer& what) noexcept { end_use(what.id()); }
    void end_use(std::uint64_t id) noexcept;

    /// Our work on the peer's exposures, which may outlive this.
    traffic& work() noexcept { return *work_; }

    const remote_use& use() const noexcept { return use_; }
    /// Exposures of ours that the peer may reach.
    std::size_t exposed() const noexcept { return exposed_.size(); }

private:
    friend class exposure_operation;

    std::uint64_t add(exposure_operation& what);
    void remove(std::uint64_t id) noexcept { exposed_.erase(id); }
    error_code send(connection::control_kind kind, std::uint64_t id) noexcept;
    void send_released(std::uint64_t id) noexcept;
    void send_later() noexcept;
    void send_again() noexcept;
    void on_revoke(std::span<const std::byte> payload) noexcept;
    void on_released(std::span<const std::byte> payload);

    connection::connection& connection_;
    remote_use use_;
    boost::intrusive_ptr<traffic> work_;
    boost::unordered_flat_map<std::uint64_t, exposure_operation*> exposed_;
    std::uint64_t made_ = 0;
    std::vector<std::uint64_t> unsent_; // `released` for which the control lane had no room; as many as use_ remembers
    completion::timer again_;
};

} // namespace penstock::transfer
