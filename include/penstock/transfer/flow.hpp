#pragma once

// Transfers that are more than one request: pieces of long ones, extents of a batch. Posted as far as there is room on the lanes, in
// groups with one doorbell and one signaled request each.

#include <penstock/completion/timer.hpp>
#include <penstock/connection/lane.hpp>
#include <penstock/memory/local_buffer.hpp>
#include <penstock/transfer/operation.hpp>
#include <penstock/transfer/remote_buffer.hpp>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/intrusive/list_hook.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace penstock::transfer {

class traffic;

/// Local memory and as many bytes of a remote buffer, from its start.
struct extent {
    fabric::opcode operation = fabric::opcode::read; ///< read or write
    memory::local_buffer local{};
    remote_buffer remote{};
    error_code error{};

    /// Errors: out_of_range (the remote buffer is shorter), invalid_argument (it does not grant that).
    error_code check() const noexcept;
};

/// Where a group's requests are built. Empty: on the stack, a few at a time.
struct request_room {
    std::span<fabric::send_request> requests{};
    std::span<fabric::local_segment> pieces{};
};

/// Threads: the runtime's executor. Allocation: none.
class flow {
public:
    using handler_type = boost::asio::any_completion_handler<void(error_code)>;
    using hook = boost::intrusive::list_member_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;

    static constexpr std::uint64_t piece_bytes_max = std::uint64_t{1} << 30U; ///< a segment has room for that

    hook waiting;
    hook in_progress;

    flow();
    flow(const flow&) = delete;
    flow& operator=(const flow&) = delete;

    bool active() const noexcept { return handler_.has_value(); }

    /// Starts, never calling the handler. `extents` and `room` stay where they are until it has been called.
    void begin(traffic& over, std::span<extent> extents, const request_room& room, handler_type handler,
        const operation_options& options);

    /// Posts what there is room for. True: nothing is left to post.
    bool post_more() noexcept;
    /// After post_more() outside the end of a request of its own.
    void settle() noexcept;
    /// Posts no more, and ends when nothing is in flight.
    void stop(error_code why) noexcept;
    /// Ends without calling the handler: the runtime is ending.
    void abandon() noexcept;

protected:
    ~flow() = default;

private:
    struct group;
    struct group_operation;
    struct ending;
    struct lane_share {
        connection::lane* on = nullptr;
        std::uint32_t groups = 0;
    };

    void post_group(connection::lane& on, std::size_t index, std::uint64_t share) noexcept;
    std::uint32_t fill(group& made, std::size_t lane_index, std::size_t device, const request_room& room) noexcept;
    error_code post(group& made, std::span<fabric::send_request> requests) noexcept;
    void take_back(const group& made, error_code why) noexcept;
    void fail_extent(error_code why) noexcept;
    void record(const group& ended, std::uint32_t failures, error_code error) noexcept;
    void group_ended();
    template <class Function>
    void each_piece(const group& of, Function function) noexcept;
    std::uint64_t piece_limit(connection::lane& on) const noexcept;
    std::uint64_t requests_of(const extent& one) const noexcept;
    lane_share& share_of(connection::lane& on) noexcept;
    template <class>
    friend struct detail::canceller;
    void give_up(error_code why) noexcept;
    void due() noexcept;
    bool over() const noexcept { return next_ == extents_.size() && groups_ == 0; }
    ending end() noexcept;
    virtual void ended() noexcept = 0; ///< may be used again

    traffic* over_ = nullptr;
    std::span<extent> extents_{};
    request_room room_{};
    std::size_t next_ = 0;     // extent to post next, or to go on with
    std::uint64_t offset_ = 0; // in it
    std::uint64_t left_ = 0;   // requests still to post, about
    std::uint64_t stripe_bytes_ = 0;
    std::uint32_t groups_ = 0; // in flight
    std::uint32_t revoke_grace_ = 0;
    bool given_up_ = false;
    error_code error_;
    std::array<lane_share, remote_buffer::lanes_max> lanes_{};
    std::optional<handler_type> handler_;
    std::optional<detail::handler_work<handler_type>> work_;
    completion::timer timer_;
};

/// One transfer, with its extent.
class single_flow final : public flow {
public:
    explicit single_flow(traffic& home) noexcept
        : home_(home)
    {}
    void begin(const extent& what, handler_type handler, const operation_options& options);

private:
    void ended() noexcept override;

    traffic& home_;
    extent extent_{};
};

} // namespace penstock::transfer
