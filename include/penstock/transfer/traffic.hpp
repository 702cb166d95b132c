#pragma once

// The work of one connection on remote buffers, as far as it outlives a call: whose use of an exposure has to be ended, what
// waits for room on a lane, what is in progress when the connection goes.

#include <penstock/connection/connection.hpp>
#include <penstock/transfer/flow.hpp>
#include <penstock/transfer/remote_buffer.hpp>

#include <boost/intrusive/list.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace penstock::transfer {

class exposure_ledger;

/// Ownership: the ledger of the connection and every request in flight on a remote buffer hold it: requests may end after the
/// connection object is gone. Threads: the runtime's executor.
class traffic final : public boost::intrusive_ref_counter<traffic, boost::thread_unsafe_counter>,
                      private connection::lane_observer,
                      private connection::room_listener {
public:
    static constexpr std::size_t waiting_max = 256; ///< transfers and batches that wait for room on a lane

    static traffic& of(connection::connection& over);

    traffic(connection::connection& over, exposure_ledger& ledger);
    ~traffic();

    /// The connection is about to be destroyed: nothing new is posted, what is in flight ends flushed.
    void connection_gone() noexcept;

    /// Pairs with end_use(). Errors: exposure_revoked, send_queue_full, connection_closed.
    error_code begin_use(const remote_buffer& what) noexcept;
    void end_use(std::uint64_t id) noexcept;

    /// The live lane with the most room among those that have a key to `what`; null if there is none.
    struct choice {
        connection::lane* on = nullptr;
        std::uint16_t index = 0;
        std::uint32_t rkey = 0;
    };
    choice choose(const remote_buffer& what) const noexcept;
    std::uint32_t live_lanes() const noexcept;
    error_code why_no_lane() const noexcept;

    bool somebody_waits() const noexcept { return !waiting_.empty(); }
    /// Errors: send_queue_full (waiting_max).
    error_code wait_for_room(flow& which) noexcept;
    void add(flow& which) noexcept { in_progress_.push_back(which); }
    std::size_t in_progress() const noexcept { return in_progress_.size(); }

    /// A transfer that is not a batch's: kept here until it has ended, and used again then.
    single_flow& acquire_single();
    void release(single_flow& which) noexcept { free_.push_back(&which); }

    runtime& owner() noexcept { return runtime_; }

private:
    void lane_up(std::size_t index) override;
    void lane_lost(std::size_t index, error_code why) override;
    void room() noexcept override;
    void listen_for_room(connection::room_listener* who) noexcept;

    using waiting_list = boost::intrusive::list<flow, boost::intrusive::member_hook<flow, flow::hook, &flow::waiting>,
        boost::intrusive::constant_time_size<false>>;
    using progress_list
        = boost::intrusive::list<flow, boost::intrusive::member_hook<flow, flow::hook, &flow::in_progress>,
            boost::intrusive::constant_time_size<false>>;

    runtime& runtime_;
    connection::connection* over_;
    exposure_ledger* ledger_;
    waiting_list waiting_;
    progress_list in_progress_;
    std::vector<std::unique_ptr<single_flow>> singles_;
    std::vector<single_flow*> free_;
};

} // namespace penstock::transfer
