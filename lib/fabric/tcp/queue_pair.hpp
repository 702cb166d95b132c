#pragma once

// A queue pair: the requester's and the responder's state machines joined to a socket.
//
// Files: queue_pair.cpp posting and completing; queue_pair_output.cpp and queue_pair_input.cpp the two directions of the
// socket; queue_pair_error.cpp the way into ERROR and the good-bye.

#include "fabric/tcp/link.hpp"
#include "fabric/tcp/receive_pool.hpp"
#include "fabric/tcp/requester.hpp"
#include "fabric/tcp/responder.hpp"

#include <penstock/core/clock.hpp>
#include <penstock/fabric/queue_pair.hpp>

#include <memory>
#include <vector>

namespace penstock::fabric::tcp {

class completion_queue;
class device;
struct output_scratch;
struct input_scratch;

class shared_receives final : public shared_receive_queue {
public:
    shared_receives(std::uint32_t domain, std::uint32_t depth, std::uint32_t segments_max)
        : pool(depth, segments_max)
        , domain_number(domain)
    {}
    post_result post_receive(std::span<const receive_request> requests) override { return pool.post(requests); }

    receive_pool pool;
    const std::uint32_t domain_number;
};

enum class frame_source : std::uint8_t { control, request, response, stash };

/// A frame on its way out.
struct outgoing_frame {
    frame_header header{};
    frame_source from = frame_source::control;
    std::uint64_t index = 0;      // of the entry or response
    std::uint32_t generation = 0; // of the requester when planned
};

class queue_pair final : public fabric::queue_pair {
public:
    static result<std::unique_ptr<fabric::queue_pair>> create(
        device& owner, std::uint32_t domain, const queue_pair_options& options);
    queue_pair(device& owner, std::uint32_t domain, std::uint32_t number, const queue_pair_options& options);
    ~queue_pair() override;

    post_result post_send(std::span<const send_request> requests) override;
    post_result post_receive(std::span<const receive_request> requests) override;
    error_code move_to_error() override;
    queue_pair_state state() const noexcept override;
    std::uint32_t number() const noexcept override { return context_.queue_pair; }
    std::uint32_t inline_bytes_max() const noexcept override { return inline_bytes_max_; }

    // For connections.

    const std::shared_ptr<link>& shared_link() const noexcept { return link_; }
    device& owner() const noexcept { return owner_; }
    /// Before the link is opened; until then the queue pair's thread does not look at it.
    void prepare(std::uint8_t responder_resources) { responder_.set_resources(responder_resources); }

    // For the completion queues.

    /// Takes note of what the channel's thread did.
    void look_at_link();
    /// Asking a socket costs a system call: one to which nothing has come for a while is asked every now and then only.
    bool is_due() noexcept { return quiet_reads_ < quiet_reads_max || ++turns_ % quiet_interval == 0; }
    /// Reads what has come, lands it and completes.
    void turn_input(input_scratch& scratch);
    /// Writes what may go; `alone`: also an acknowledgement with nothing to ride on.
    void turn_output(output_scratch& scratch, bool alone);
    /// There may be output: give it another turn.
    bool wants_turn() const noexcept;
    bool output_blocked() const noexcept { return blocked_; }
    bool adopted() const noexcept { return adopted_; }
    bool input_ended() const noexcept { return input_dead_; }
    bool receives_into(const completion_queue& queue) const noexcept { return &receive_completions_ == &queue; }
    int socket() const noexcept { return link_->socket(); }
    /// When a receiver-not-ready wait ends; time_point_never when there is none.
    time_point wakes_at() const noexcept
    {
        return requester_.rnr_waiting() && !errored_ ? rnr_until_ : time_point_never;
    }
    /// A completion has been taken from its queue.
    void release(std::uint32_t send_slots, std::uint32_t receive_slot) noexcept;

    bool listed[2] = {false, false};  // in the work list of the receive and the send completion queue
    bool watched[2] = {false, false}; // in their epoll sets
    bool watched_for_output[2] = {false, false};
    bool attended[2] = {false, false}; // in their lists of those that wait for more than input

private:
    enum class goodbye : std::uint8_t { none, silent, disconnect, refusal };
    enum class landing : std::uint8_t { request, response, discard };

    static constexpr std::uint64_t batch_bytes = 1U << 20U;
    static constexpr std::uint32_t quiet_reads_max = 64;
    static constexpr std::uint32_t quiet_interval = 16;

    void adopt();
    void mark();
    void attend();
    error_code not_ready_to_send() noexcept;
    void complete_sends();
    void push_send(const send_entry& entry, completion_status status);
    void push_receive(const finished_receive& finished);

    // Output.
    std::size_t build(output_scratch& scratch, held_keys& held, piece_list& out, bool alone);
    bool add_frame(output_scratch& scratch, std::size_t& count, const outgoing_frame& frame,
        const send_position& request, const response_position& response, held_keys& held, piece_list& out);
    bool gather(const outgoing_frame& frame, std::uint32_t skip, held_keys& held, piece_list& out) noexcept;
    void commit(const output_scratch& scratch, std::size_t count, std::size_t bytes);
    void bad_key(const outgoing_frame& frame, bool begun);
    void close_output();
    bool add_control(output_scratch& scratch, std::size_t& count, held_keys& held, piece_list& out, bool alone,
        const send_position& request, const response_position& response);

    // Input.
    bool receive_once(input_scratch& scratch);
    bool receive_drain(input_scratch& scratch);
    bool map_payload(std::uint32_t length, held_keys& held, piece_list& out);
    void landed(std::uint32_t length);
    void parse(std::byte* at, std::size_t length);
    void land_copy(const std::byte* from, std::uint32_t length);
    void on_header(const frame_header& frame);
    void on_request(const frame_header& frame);
    void on_response(const frame_header& frame);
    void on_refusal(const frame_header& frame);
    void end_payload();
    void answer(responder::verdict verdict);
    void peer_closed();
    void protocol_error(const char* what);

    // Error.
    void enter_error(completion_status oldest, goodbye how);
    void enter_error(completion_status oldest, goodbye how, refusal why, std::uint32_t message, bool answer_reads);
    void flush_receives();
    void stash_current();
    void stash_zeros();

    device& owner_;
    key_context context_;
    completion_queue& send_completions_;
    completion_queue& receive_completions_;
    std::unique_ptr<receive_pool> own_receives_;
    receive_pool* receives_;
    std::uint32_t inline_bytes_max_;
    std::uint32_t receive_depth_;
    std::uint32_t send_depth_;
    std::size_t pieces_max_; // segments of one frame, and its header
    std::shared_ptr<link> link_;
    requester requester_;
    responder responder_;
    std::uint32_t fragment_bytes_max_;
    std::uint32_t direct_bytes_min_;
    std::uint32_t unreported_ = 0; // ended unsignaled sends whose slots the next completion gives back

    bool adopted_ = false;
    bool errored_ = false;
    bool blocked_ = false;       // the socket took less than was offered
    bool output_dead_ = false;   // the peer does not read any more; it may still have written
    bool output_closed_ = false; // shut down for writing
    bool input_dead_ = false;
    bool rnr_pending_ = false;
    bool large_last_ = false; // the last frame was large: read little behind it
    time_point rnr_until_ = time_point_never;

    bool current_active_ = false;
    outgoing_frame current_;            // begun and not written whole
    std::uint32_t current_written_ = 0; // of header and payload
    std::uint32_t acknowledged_ = 0;    // last acknowledgement given to the socket

    std::uint32_t quiet_reads_ = 0; // that found nothing, since something came or was posted
    std::uint32_t turns_ = 0;
    std::size_t header_have_ = 0;
    header_buffer header_{};
    landing landing_ = landing::discard;
    bool ends_response_ = false; // the frame whose payload is being read
    std::uint32_t payload_left_ = 0;

    bool goodbye_pending_ = false;
    bool answer_reads_ = false; // reads before the refused message are still answered
    frame_header goodbye_{};
    std::vector<std::byte> stash_; // rest of the frame that ERROR interrupted
};

} // namespace penstock::fabric::tcp
