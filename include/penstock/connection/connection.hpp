#pragma once

// A connection: a control lane, a data lane, and what both sides agreed on.

#include <penstock/connection/lane.hpp>
#include <penstock/connection/runtime.hpp>
#include <penstock/core/identifier.hpp>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/intrusive/list_hook.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

namespace penstock::connection {

/// Longest messages on the data lane. Both sides of a protocol state the same.
struct message_limits {
    std::uint32_t request_bytes = 512;
    std::uint32_t response_bytes = 64;
    std::uint32_t sends_waiting = 64; ///< for credits, at least; each side chooses
};

inline constexpr std::size_t lanes_max = 8;

/// Both sides must allow it; else any lane's death ends the connection.
struct recovery_options {
    bool enabled = false;
    std::chrono::milliseconds backoff_first{50}; ///< a random part of it before the first attempt; doubled for each
    std::chrono::milliseconds backoff_max{2'000};
    std::chrono::milliseconds give_up_after{30'000}; ///< without any lane; then the connection is over
};

/// The control lane's pings. A dead machine is found sooner: by its kernel's silence, in about three seconds.
struct liveness_options {
    bool enabled = true;
    std::chrono::milliseconds interval{1'000};
    std::chrono::milliseconds limit{
        30'000}; ///< silence after which a peer whose kernel answers is given up all the same
    /// Keeps the executor's run() from returning while the connection is open, so that a dead peer is noticed although nothing
    /// is outstanding. Without it, that is noticed when the poller next runs; silence counts only while it does.
    bool keep_running = false;
};

struct connection_properties {
    fabric::transport transport{};
    std::string transport_reason; ///< why this one: one sentence for people
    std::string device;
    fabric::endpoint remote;
    std::uint32_t depth = 0;              ///< requests outstanding at most, on each lane
    std::uint64_t transfer_bytes_max = 0; ///< longest buffer of one request
    std::uint32_t lanes = 1;              ///< data lanes; at most lanes_max
    bool memory_windows = true; ///< false: the device has none, and each exposure is a registration of its own
    std::uint32_t epoch = 1;    ///< raised each time the connection is made again
    bool recovers = false;      ///< lanes are replaced: both sides allow it
    identifier peer_instance{};
};

/// What the layers above say to each other by the control lane. A message is a kind and some bytes.
enum class control_kind : std::uint8_t { revoke, released };
inline constexpr std::size_t control_kinds = 2;
inline constexpr std::size_t control_payload_max = 200;
inline constexpr std::size_t early_control_max = 64;

/// Watches the lanes of a connection. For each lane `lane_lost`, then `lane_fenced`, then, where it is replaced, `lane_up`; last,
/// when all lanes are fenced, `closed`. Lanes that are up when it is added are not told.
/// Threads: the runtime's executor. Calls come from the poller's turn, never inside a call of the observer's; in them observers
/// may be added and removed, and the connection closed or destroyed. An observer may outlive its connection, and is told
/// to the end. It is not told any more once the runtime ends.
class lane_observer
    : public boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
public:
    lane_observer() = default;
    lane_observer(const lane_observer&) = delete;
    lane_observer& operator=(const lane_observer&) = delete;

    virtual void lane_up(std::size_t index) { (void)index; }
    /// It is no longer lane_at(index). What is in flight on it is flushed.
    virtual void lane_lost(std::size_t index, error_code why)
    {
        (void)index;
        (void)why;
    }
    /// Its windows and its queue pair are destroyed: nobody can touch memory through it any more.
    virtual void lane_fenced(std::size_t index) { (void)index; }
    virtual void closed(error_code why) { (void)why; }

protected:
    ~lane_observer() = default;
};

/// What a layer above keeps for a connection. It goes with the connection object, before its lanes.
class extension {
public:
    extension() = default;
    extension(const extension&) = delete;
    extension& operator=(const extension&) = delete;
    virtual ~extension() = default;
};

class connection_core;

/// Ownership: child of the runtime; it owns its lanes. Destroying it closes abruptly: the lanes are retired, and what is in
/// flight on them ends with completion_status::flushed before they are gone.
/// Threads: the runtime's executor.
class connection {
public:
    explicit connection(std::shared_ptr<connection_core> core);
    connection(const connection&) = delete;
    connection& operator=(const connection&) = delete;
    ~connection();

    const connection_properties& properties() const noexcept;
    runtime& owner() noexcept;

    /// Data lanes agreed on; the same as long as the connection lives.
    std::size_t lane_count() const noexcept { return lane_count_; }
    /// Null while that lane is down, and beyond lane_count(). Ask again after each turn: a lane that is down is destroyed.
    lane* lane_at(std::size_t index) noexcept { return index < lanes_max ? live_[index] : nullptr; }
    /// Why the connection is over; no error while it is not, be a lane down or not.
    error_code lost() const noexcept;

    /// Lane 0 as it was when the connection was made; when it is down it refuses work. For connections that are not recovered.
    lane& data() noexcept { return *first_; }

    void add(lane_observer& observer);
    void remove(lane_observer& observer) noexcept;

    /// Sends at most control_payload_max bytes by the control lane. Messages arrive in order; what was sent may be lost only with
    /// the control lane. Errors: invalid_argument (too long), connection_lost, send_queue_full (ask again in a later turn).
    error_code send_control(control_kind kind, std::span<const std::byte> payload);
    /// Called with the peer's messages of that kind; the bytes are valid during the call. Without a handler the
    /// first `early_control_max` are kept; the handler is called with them in here, before this returns.
    void on_control(control_kind kind, std::function<void(std::span<const std::byte>)> handler);

    /// The transfer layer's, which makes it when it is first needed.
    std::unique_ptr<extension>& transfers() noexcept { return transfers_; }

    /// Messages on any data lane.
    void on_message(lane::message_handler handler);
    /// Where messages wait that no such handler takes: see transfer::async_receive().
    inbox& arrivals() noexcept;
    /// Called once when the connection is over: connection_lost, or what killed it; also when that was before this call, but
    /// never inside it. Then close() is due.
    void on_down(lane::down_handler handler);

    /// Ends all lanes. `fenced` is called after the last data lane is destroyed: from then on the peer cannot reach any memory
    /// through this connection. It is not called if the runtime ends first, nor if the connection was closed already.
    /// After close() only the destructor, properties(), lost(), remove() and data() may be called. A peer that recovers its
    /// connections takes it for a loss and comes back; async_close() tells it.
    void close(std::function<void()> fenced = {});

    /// Ends in order: lanes are given out no more, what is in flight ends or `limit` passes, the peer is told, then as close().
    /// *Completion signature.* void(error_code). *Completion means* fenced, as for close().
    /// *Errors.* timed_out: something was still in flight and was flushed. wrong_state: closed or being closed already.
    /// *Threads.* The runtime's executor. Not completed if the runtime ends first.
    template <class Token>
    auto async_close(std::chrono::milliseconds limit, Token&& token)
    {
        return boost::asio::async_initiate<Token, void(error_code)>(
            [this](auto handler, std::chrono::milliseconds within) { start_close(within, std::move(handler)); }, token,
            limit);
    }

    /// Called when the connection is closed or destroyed. On an accepted connection this is the acceptor's, which counts.
    void on_closed(std::function<void()> handler) { on_closed_ = std::move(handler); }

private:
    friend class connection_core;

    void start_close(std::chrono::milliseconds limit, boost::asio::any_completion_handler<void(error_code)> handler);

    std::shared_ptr<connection_core> core_;
    std::size_t lane_count_;
    std::array<lane*, lanes_max> live_{};
    std::shared_ptr<lane> first_;
    std::function<void()> on_closed_;
    std::unique_ptr<extension> transfers_;
    bool closed_ = false;
};

struct connect_options {
    transport_choice transport = transport_choice::automatic;
    std::uint32_t depth = 64;
    message_limits messages{};
    std::chrono::milliseconds timeout{5'000}; ///< for the whole
    std::uint32_t lanes = 1;                  ///< data lanes wanted, at most lanes_max
    recovery_options recovery{};
    liveness_options liveness{};
};

void start_connect(runtime& rt, const fabric::endpoint& remote, const connect_options& options,
    boost::asio::any_completion_handler<void(error_code, std::unique_ptr<connection>)> handler);

/// Connects: control lane, handshake, data lanes.
///
/// With transport_choice::automatic and a server that has RDMA too, a data lane that cannot be opened by verbs is opened by tcp;
/// that is logged as a warning and stated in transport_reason.
/// *Completion signature.* void(error_code, std::unique_ptr<connection>).
/// *Errors.* invalid_argument, refused (nobody listens), unreachable, timed_out, no_device (verbs wanted, none here), remote_refused_feature (the other
/// side does not offer the wanted transport), too_many_connections, the protocol group, or what a local limit gives.
/// *Threads.* The runtime's executor.
template <class Token>
auto async_connect(runtime& rt, const fabric::endpoint& remote, const connect_options& options, Token&& token)
{
    return boost::asio::async_initiate<Token, void(error_code, std::unique_ptr<connection>)>(
        [&rt](auto handler, const fabric::endpoint& where, const connect_options& wanted) {
            start_connect(rt, where, wanted, std::move(handler));
        },
        token, remote, options);
}

} // namespace penstock::connection
