#pragma once

// A queue pair of a connection with what belongs to it: messages' memory, windows, the fabric's connection, and the count of
// what is in flight, without which it cannot be destroyed safely.

#include <penstock/completion/poller.hpp>
#include <penstock/connection/inbox.hpp>
#include <penstock/connection/message_credits.hpp>
#include <penstock/connection/received_message.hpp>
#include <penstock/connection/runtime.hpp>
#include <penstock/fabric/device.hpp>
#include <penstock/memory/memory_pool.hpp>

#include <boost/intrusive/list.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace penstock::connection {

struct lane_options {
    std::uint32_t send_depth = 64;     ///< work requests on the send queue
    bool credits = false;              ///< a data lane: messages have a header, and none is sent that has no receive
    std::uint32_t receives = 8;        ///< with credits: what each side grants the other, equal on both
    std::uint32_t receive_bytes = 512; ///< longest message received, without its header
    std::uint32_t sends = 8;
    std::uint32_t send_bytes = 512; ///< longest message sent, without its header
    std::uint32_t windows = 0;
    std::uint8_t reads = 16; ///< one-sided reads outstanding, each direction
};

/// Registered memory for one message to send, behind room for its header where it has one.
struct message_slot {
    std::span<std::byte> bytes{};
    std::uint32_t lkey = 0;
    std::uint32_t index = 0;
    std::uint32_t header = 0; ///< bytes of it

    /// The header and `length` bytes of the message.
    fabric::local_segment segment(std::size_t length) const noexcept
    {
        return {bytes.data() - header, static_cast<std::uint32_t>(header + length), lkey};
    }
};

/// Waits for room on a send queue. room() may post, and must call nothing that throws or destroys a lane.
class room_listener {
public:
    virtual void room() noexcept = 0;

protected:
    ~room_listener() = default;
};

/// A message that waits to be sent. It is told once, and is off the lane's list by then.
class send_waiter : public boost::intrusive::list_base_hook<> {
public:
    /// There is a credit and room on the send queue: to be used at once. Else why there will be none. Calls no handler.
    virtual void turn(error_code error) = 0;

protected:
    ~send_waiter() = default;
};

/// Ownership: child of the runtime. Give it to runtime::retire() instead of destroying it: that moves it to ERROR, waits until
/// nothing is in flight, and then destroys windows, queue pair and connection in this order. What is left of it refuses work.
/// Threads: the runtime's executor. Allocation: none after creation.
class lane {
public:
    /// Called with each message, without its header; the bytes are valid during the call, then the receive is posted again, unless
    /// the message was kept.
    using message_handler = std::function<void(std::span<const std::byte>)>;
    /// Called for each of the peer's writes with immediate, whose bytes are visible then.
    using immediate_handler = std::function<void(std::uint32_t immediate_data, std::uint32_t bytes)>;
    /// Called once, when the lane dies for any reason but retire(): never inside a call of the owner's.
    using down_handler = std::function<void(error_code)>;

    /// Errors: what the fabric and the pool give. Receives are posted already.
    static result<std::unique_ptr<lane>> create(runtime& rt, runtime_device& device, const lane_options& options);
    lane(const lane&) = delete;
    lane& operator=(const lane&) = delete;
    ~lane();

    /// Messages are parked until somebody is there for them: a handler, or an inbox. Then they are delivered, from a later turn than this
    /// call and before what comes later.
    void on_message(message_handler handler)
    {
        on_message_ = std::move(handler);
        unpark();
    }
    /// Until the next on_message().
    void park_messages() noexcept { parks_ = true; }
    void on_immediate(immediate_handler handler) { on_immediate_ = std::move(handler); }
    void on_down(down_handler handler) { on_down_ = std::move(handler); }

    /// Takes the fabric's connection, whose events the lane handles from now on. `established` is called once, with an error if the
    /// connection fails instead. A message proves it as well as the event, which may come later.
    void attach(
        std::unique_ptr<fabric::connection> link, std::function<void(const fabric::connection_event&)> established);

    /// Keeps the message whose handler is running, beyond the call. Needs credits; once for each message.
    received_message keep_message() noexcept;

    /// Posts all or nothing and counts the requests as in flight until ended(). With credits a send's first segment begins with
    /// room for the header, which is written here; each send and each write with immediate data spends a credit.
    /// Errors: lane_error (in ERROR), send_queue_full (no room, or no credit), invalid_argument (a send without room for its header),
    /// or what the queue pair says; a partial post moves it to ERROR.
    [[gnu::always_inline]] error_code post(std::span<const fabric::send_request> requests)
    {
        // The usual case, here to be compiled into its caller: one request that spends no credit and finds room.
        if (requests.size() != 1 || takes_receive(requests.front().operation) || sends_in_flight_ >= sends_allowed_) {
            return post_chain(requests);
        }
        const auto posted = pair_->post_send(requests);
        if (posted.error.failed()) [[unlikely]] {
            return posted.error;
        }
        ++sends_in_flight_;
        return {};
    }
    void ended(std::uint32_t requests) noexcept
    {
        sends_in_flight_ -= requests;
        if (retiring_ || room_listener_ != nullptr || !waiting_.empty() || on_quiet_) {
            told_of_end();
        }
    }

    /// Whom to call whenever requests have ended, until the lane retires; null: nobody.
    void on_room(room_listener* who) noexcept { room_listener_ = who; }

    /// Free room on the send queue, in requests; none in ERROR.
    std::uint32_t send_room() const noexcept { return sends_allowed_ == 0 ? 0 : sends_allowed_ - sends_in_flight_; }
    /// One message may be sent now, and nobody waits to send one. Only with credits.
    bool may_send() const noexcept { return waiting_.empty() && has_turn(); }
    /// Waits for that, in order; on a lane that has not failed.
    void wait_to_send(send_waiter& who) noexcept { waiting_.push_back(who); }
    void leave(send_waiter& who) noexcept { waiting_.erase(waiting_.iterator_to(who)); }
    /// Messages that nobody handles go there. It must live as long as this lane has not failed.
    void deliver_to(inbox* into) noexcept
    {
        inbox_ = into;
        unpark();
    }

    /// Messages that may be sent before the peer gives back more. Only with credits.
    std::uint32_t send_credits() const noexcept { return credits_.available(); }

    /// Errors: send_queue_full.
    result<message_slot> acquire_message() noexcept;
    void release_message(const message_slot& slot) noexcept { free_messages_.push_back(slot.index); }

    /// Errors: send_queue_full when all windows are in use.
    result<fabric::memory_window*> acquire_window() noexcept;
    void release_window(fabric::memory_window* window) noexcept { free_windows_.push_back(window); }

    /// Nothing that was posted to the send queue is in flight.
    bool quiet() const noexcept { return sends_in_flight_ == 0; }
    /// Called each time it becomes quiet, from within ended(): it may only take note.
    void on_quiet(std::function<void()> handler) { on_quiet_ = std::move(handler); }

    /// Moves to ERROR; what is in flight flushes. `why` goes to on_down.
    void fail(error_code why) noexcept;

    bool failed() const noexcept { return failed_; }
    runtime& owner() noexcept { return runtime_; }
    runtime_device& device() noexcept { return device_; }
    fabric::queue_pair& pair() noexcept { return *pair_; }
    fabric::connection* link() noexcept { return link_.get(); }

private:
    friend class penstock::runtime;
    friend class received_message;
    struct receive_operation;
    struct credit_operation;

    static constexpr bool takes_receive(fabric::opcode operation) noexcept
    {
        using enum fabric::opcode;
        return operation == send || operation == send_with_immediate || operation == send_with_invalidate
            || operation == write_with_immediate;
    }

    lane(runtime& rt, runtime_device& device, const lane_options& options);
    void dismantle() noexcept;
    error_code allocate();
    error_code allocate_messages();
    result<message_slot> carve(std::uint32_t bytes);
    error_code allocate_pair();
    error_code start_receives();
    error_code post_chain(std::span<const fabric::send_request> requests);
    error_code post_receive(std::uint32_t index);
    void received(std::uint32_t index, const fabric::work_completion& completion);
    void arrived(std::uint32_t index, const fabric::work_completion& completion);
    void deliver(receive_slot& slot, const fabric::work_completion& completion);
    void unpark() noexcept;
    void deliver_parked();
    void receive_again(std::uint32_t index) noexcept;
    void return_credits() noexcept;
    bool has_turn() const noexcept;
    void serve_waiting() noexcept;
    void credit_sent(std::uint32_t index, const fabric::work_completion& completion) noexcept;
    error_code stamp(std::span<const fabric::send_request> requests) noexcept;
    void handle(const fabric::connection_event& event);
    void begin_retirement(std::function<void()> idle) noexcept;
    void told_of_end() noexcept;
    void check_idle() noexcept;
    bool idle() const noexcept
    {
        return sends_in_flight_ == 0 && receives_in_flight_ == 0 && free_credits_.size() == credit_messages_.size();
    }

    runtime& runtime_;
    runtime_device& device_;
    lane_options options_;
    message_credits credits_;
    std::unique_ptr<receive_memory>
        receives_;           // also holds what is sent from; outlives this lane while messages are kept
    std::size_t carved_ = 0; // bytes of its last buffer
    std::vector<message_slot> messages_;
    std::vector<std::uint32_t> free_messages_;
    std::vector<message_slot> credit_messages_;
    std::vector<std::uint32_t> free_credits_;
    std::vector<completion::operation_id> receive_operations_;
    std::vector<completion::operation_id> credit_operations_;
    boost::intrusive::list<send_waiter> waiting_;
    inbox* inbox_ = nullptr;
    boost::intrusive::list<receive_slot> parked_;
    bool parks_ = true;
    receive_slot* delivering_ = nullptr; // the message whose handler is running, unless it was kept
    message_handler on_message_;
    immediate_handler on_immediate_;
    room_listener* room_listener_ = nullptr;
    down_handler on_down_;
    std::function<void(const fabric::connection_event&)> established_;
    std::function<void()> on_idle_;
    std::function<void()> on_quiet_;
    completion::timer down_timer_;
    completion::timer parked_timer_;
    error_code why_;
    std::uint32_t sends_in_flight_ = 0;
    std::uint32_t sends_allowed_ = 0; // the depth; 0 in ERROR
    std::uint32_t receives_in_flight_ = 0;
    bool failed_ = false;
    bool retiring_ = false;
    // Destroyed bottom up: windows, then the pair, then the connection.
    std::unique_ptr<fabric::connection> link_;
    std::unique_ptr<fabric::queue_pair> pair_;
    std::vector<std::unique_ptr<fabric::memory_window>> windows_;
    std::vector<fabric::memory_window*> free_windows_;
};

} // namespace penstock::connection
