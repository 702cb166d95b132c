#pragma once

// What a queue pair and its connection share: the socket, and what one thread has to tell the other about it.
//
// The channel's thread opens the link and may ask for its end; the queue pair's thread adopts the socket, reads and
// writes it, and tells the channel when it dies. Neither waits for the other.

#include "fabric/tcp/descriptor.hpp"
#include "fabric/tcp/frame.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace penstock::fabric::tcp {

/// Rung by other threads to make a completion queue look at its queue pairs' links.
struct queue_signal {
    std::atomic<std::uint32_t> rings{0};
    unique_descriptor event;

    void ring() noexcept
    {
        rings.fetch_add(1, std::memory_order_release);
        signal_event(event.get());
    }
};

/// Where queue pairs leave word for a channel. Not on the data path.
struct channel_inbox {
    struct notice {
        std::uint64_t connection = 0;
        connection_event_type type{};
    };

    std::mutex mutex;
    std::vector<notice> notices;
    unique_descriptor event;

    void leave(const notice& word);
};

/// What the handshake agreed on, for the queue pair.
struct link_terms {
    std::uint8_t initiator_depth = 0;     ///< the smaller of ours and what the peer serves
    std::uint8_t responder_resources = 0; ///< what we serve
    std::uint8_t rnr_retry_count = 7;
    std::uint32_t rnr_delay_microseconds = 0; ///< what we ask the peer to wait
};

class link {
public:
    enum class phase : std::uint8_t { initial, accepted, established };
    enum class ready_result : std::uint8_t { pending, taken, dead };

    link(std::shared_ptr<queue_signal> send, std::shared_ptr<queue_signal> receive) noexcept
        : send_signal_(std::move(send))
        , receive_signal_(std::move(receive))
    {}

    // The channel's thread.

    /// One connection per queue pair: false for the second.
    bool claim() noexcept { return !claimed_.exchange(true); }
    void unclaim() noexcept { claimed_.store(false); }
    bool abandoned() const noexcept { return abandoned_.load(); }
    void attach(std::shared_ptr<channel_inbox> inbox, std::uint64_t connection);
    void detach();
    /// Hands the socket over.
    void open(unique_descriptor socket, const link_terms& terms, phase reached) noexcept;
    /// Ends the link in order. If the queue pair is in the middle of a frame it says the good-bye itself.
    void request_close() noexcept;
    /// The peer has closed or died: state() shows it before the queue pair's thread looks.
    void note_peer_gone() noexcept { peer_gone_.store(true, std::memory_order_relaxed); }

    // The queue pair's thread.

    const link_terms& terms() const noexcept { return terms_; }
    bool close_requested() const noexcept { return (gate_.load(std::memory_order_acquire) & requested) != 0; }
    /// Before writing; false when the channel's thread has closed the link for writing.
    bool begin_write() noexcept { return (gate_.fetch_or(writing, std::memory_order_acquire) & closed) == 0; }
    /// After writing up to a frame's end.
    void end_write() noexcept { gate_.fetch_and(~writing, std::memory_order_release); }
    void close_for_writing() noexcept { gate_.fetch_or(closed, std::memory_order_acq_rel); }
    /// For the good-bye that the channel's thread may have to say.
    void publish_acknowledge(std::uint32_t value) noexcept { acknowledge_.store(value, std::memory_order_relaxed); }
    void fail() noexcept { failed_.store(true, std::memory_order_release); }
    void abandon() noexcept { abandoned_.store(true); }

    // Either thread.

    phase reached() const noexcept { return phase_.load(std::memory_order_acquire); }
    bool failed() const noexcept
    {
        return failed_.load(std::memory_order_acquire) || peer_gone_.load(std::memory_order_relaxed);
    }
    int socket() const noexcept { return socket_.get(); }
    /// Reads the READY that ends the passive side's handshake, whichever thread comes first, and tells the channel.
    ready_result take_ready() noexcept;
    /// Leaves word for the channel; of each kind once.
    void tell(connection_event_type type);
    /// The channel has told its own end of it: no `disconnected` any more.
    void tell_once_only();

private:
    static constexpr std::uint32_t writing = 1;
    static constexpr std::uint32_t closed = 2;
    static constexpr std::uint32_t requested = 4;

    void say_goodbye() noexcept;
    ready_result read_ready() noexcept;

    std::shared_ptr<queue_signal> send_signal_;
    std::shared_ptr<queue_signal> receive_signal_;
    std::atomic<bool> claimed_{false};
    std::atomic<bool> abandoned_{false};
    std::atomic<bool> failed_{false};
    std::atomic<bool> peer_gone_{false};
    std::atomic<phase> phase_{phase::initial}; // publishes socket_ and terms_
    std::atomic<std::uint32_t> gate_{0};
    std::atomic<std::uint32_t> acknowledge_{0};
    unique_descriptor socket_;
    link_terms terms_;

    std::atomic<bool> ready_busy_{false}; // guards the next two
    header_buffer ready_{};
    std::size_t ready_bytes_ = 0;

    std::mutex mutex_; // guards what follows
    std::shared_ptr<channel_inbox> inbox_;
    std::uint64_t connection_ = 0;
    bool told_established_ = false;
    bool told_disconnected_ = false;
};

} // namespace penstock::fabric::tcp
