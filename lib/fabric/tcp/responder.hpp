#pragma once

// The receiving half of a queue pair as a state machine without I/O: what a peer's frame may do, where its payload
// lands, what is answered.

#include "fabric/tcp/frame.hpp"
#include "fabric/tcp/key_table.hpp"
#include "fabric/tcp/receive_pool.hpp"
#include "fabric/tcp/requester.hpp"

#include <penstock/fabric/types.hpp>

#include <vector>

namespace penstock::fabric::tcp {

/// Where the next response frame comes from.
struct response_position {
    std::uint64_t next = 0; ///< response, counted since the start
    std::uint64_t offset = 0;
};

/// The end of a receive.
struct finished_receive {
    std::uint32_t slot = receive_pool::none;
    bool solicited = false;
    work_completion completion{};
};

class responder {
public:
    enum class verdict : std::uint8_t {
        accept,    ///< the payload lands; end_frame() when it is there
        drop,      ///< the payload is discarded
        not_ready, ///< answer receiver-not-ready for expected(); the payload is discarded
        refuse,    ///< fatal(): answer refusal_kind() for expected()
        violation, ///< the peer does not speak the protocol
    };

    responder(const key_context& context, receive_pool* receives) noexcept
        : context_(context)
        , receives_(receives)
    {}

    /// Once, before the first frame. Allocates.
    void set_resources(std::uint32_t responses_max);

    verdict begin(const frame_header& frame) noexcept;
    /// Where the next payload bytes of the accepted frame go. False: a key is bad, see refusal_kind().
    bool map(std::uint32_t length, held_keys& held, piece_list& out) noexcept;
    void landed(std::uint32_t length) noexcept { landed_ += length; }
    /// The accepted frame's payload is complete. Fills `out` when a receive has ended (out.slot != none).
    verdict end_frame(finished_receive& out) noexcept;

    refusal refusal_kind() const noexcept { return refusal_; }
    /// The receive that the message in progress holds, with the status it must end with after a refusal or a flush.
    bool take_claimed(finished_receive& out) noexcept;

    std::uint32_t expected() const noexcept { return expected_; }

    // Responses.

    const response_position& position() const noexcept { return position_; }
    bool plan(
        response_position& at, std::uint32_t fragment_bytes_max, frame_header& out, std::uint64_t& response) noexcept;
    bool gather(const frame_header& frame, std::uint64_t response, std::uint32_t skip, held_keys& held,
        piece_list& out) noexcept;
    void start(const response_position& after) noexcept { position_ = after; }
    void written(const frame_header& frame) noexcept;
    bool has_responses() const noexcept { return position_.next != tail_; }
    std::uint32_t message_of(std::uint64_t response) const noexcept
    {
        return responses_[response % responses_.size()].message;
    }

private:
    struct response {
        frame_type type = frame_type::read_response;
        std::uint32_t message = 0;
        std::uint32_t key = 0;
        std::uint64_t address = 0;
        std::uint64_t value = 0; // bytes, or an atomic's old value
    };

    verdict begin_send(const frame_header& frame) noexcept;
    verdict begin_write(const frame_header& frame) noexcept;
    verdict begin_read(const frame_header& frame) noexcept;
    verdict begin_atomic(const frame_header& frame) noexcept;
    verdict end_send(finished_receive& out) noexcept;
    verdict end_write(finished_receive& out) noexcept;
    verdict refuse(refusal why) noexcept;
    verdict not_ready() noexcept;
    bool has_room() const noexcept { return tail_ - head_ != responses_.size(); }
    void respond(const response& with) noexcept { responses_[tail_++ % responses_.size()] = with; }
    key_request remote_request(
        const frame_header& frame, std::uint64_t offset, std::uint64_t length, access rights) const noexcept;
    void complete(finished_receive& out, completion_opcode operation) const noexcept;
    void next_message() noexcept;

    key_context context_;
    receive_pool* receives_;
    std::uint32_t expected_ = 0;
    std::uint64_t landed_ = 0; // of the message in progress
    frame_header message_{};   // first frame of the message in progress
    bool discarding_ = false;  // until `expected_` comes again from its start
    std::uint32_t claimed_ = receive_pool::none;
    completion_status claimed_status_ = completion_status::flushed;
    refusal refusal_ = refusal::none;

    std::vector<response> responses_; // ring
    std::uint64_t head_ = 0;          // oldest not written whole
    std::uint64_t tail_ = 0;
    response_position position_;
};

} // namespace penstock::fabric::tcp
