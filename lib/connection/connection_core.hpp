#pragma once

// What a connection is inside: its lanes, who watches them, and its end. It outlives the connection object until every lane is
// fenced and everybody has been told.

#include "handshake_wire.hpp"
#include "healer.hpp"
#include "liveness.hpp"

#include <penstock/connection/connection.hpp>

#include <boost/intrusive/list.hpp>

#include <array>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace penstock::connection {

/// Ownership: shared by the connection object, by the fences of its lanes, and, while there is something to tell, by the runtime.
/// Threads: the runtime's executor.
class connection_core : public std::enable_shared_from_this<connection_core> {
public:
    using lanes = std::vector<std::shared_ptr<lane>>;

    connection_core(runtime& rt, connection_properties agreed, std::shared_ptr<lane> control, lanes data,
        const liveness_options& alive);
    connection_core(const connection_core&) = delete;
    connection_core& operator=(const connection_core&) = delete;
    ~connection_core();

    const connection_properties& properties() const noexcept { return properties_; }
    runtime& owner() noexcept { return runtime_; }
    inbox& arrivals() noexcept { return arrivals_; }
    error_code lost() const noexcept;

    // What the connection object asks for.
    void attach(connection& front);
    void detach() noexcept { front_ = nullptr; }
    void add(lane_observer& observer) { observers_.push_back(observer); }
    void on_message(lane::message_handler handler);
    void on_down(lane::down_handler handler);
    void on_control(control_kind kind, std::function<void(std::span<const std::byte>)> handler);
    error_code send_control(control_kind kind, std::span<const std::byte> payload);
    void close(std::function<void()> fenced);
    void close_in_order(std::chrono::milliseconds limit, boost::asio::any_completion_handler<void(error_code)> handler);

    // The client's side of recovery.
    void recover_by_dialing(const fabric::endpoint& remote, const connect_options& options, const welcome& answer,
        const identifier& instance);
    error_code ask_for_lane(std::size_t index);
    /// The lane takes messages from now on, and is up once `mark_up` says so.
    void join(std::size_t index, std::shared_ptr<lane> opened);
    void mark_up(std::size_t index);
    /// Made again as a whole.
    void remade(dialed made, connection_properties agreed);

    // The server's side of it.
    struct grant_options {
        std::chrono::milliseconds ticket_lifetime{};
        std::chrono::milliseconds give_up_after{};
    };
    void recover_by_granting(std::uint64_t number, const grant_options& options);
    void stop_granting() noexcept { granting_.reset(); }
    bool admits(const ticket& presented) noexcept;

    /// Ends the connection. `when_fenced` calls follow once every lane is fenced.
    void end(error_code why);
    void when_fenced(std::function<void()> call);

private:
    using observer_list = boost::intrusive::list<lane_observer, boost::intrusive::constant_time_size<false>>;

    /// Something that observers or the owner are still to be told.
    struct news {
        enum class kind : std::uint8_t { lane_up, lane_lost, lane_fenced, down, closed };
        kind what{};
        std::size_t lane = 0;
        error_code why{};
    };

    /// Held by whom the runtime keeps: where that ends undone, because the runtime does, nobody will be told any more.
    struct tie {
        explicit tie(std::shared_ptr<connection_core> to)
            : core(std::move(to))
        {}
        tie(const tie&) = delete;
        tie& operator=(const tie&) = delete;
        ~tie()
        {
            if (!done) {
                core->abandon();
            }
        }
        std::shared_ptr<connection_core> core;
        bool done = false;
    };

    struct place {
        std::shared_ptr<lane> current; // null while it is down
        bool up = false;
        bool fencing = false;
        bool wanted = false;              // by the client, once it is fenced
        std::optional<identifier> secret; // of a ticket that is still good
        time_point ticket_ends{};
    };

    void watch_control();
    void watch_lane(std::size_t index);
    void control_lost(error_code why);
    void lane_died(std::size_t index, error_code why);
    void on_control_message(std::span<const std::byte> message);
    void lane_message(const control_message& message);
    void grant(std::size_t index);
    void take_out(std::size_t index, error_code why);
    void fenced(std::size_t index, bool was_up);
    void check_fenced();
    void abandon() noexcept;
    bool any_up() const noexcept;
    void heartbeat();
    void start_heartbeat();
    void probe_lanes();
    void step_close();

    void tell(const news& what);
    void tell_next();
    void tell_observers(const news& what);
    void tell_down(error_code why);
    void tell_closed(const news& what);

    runtime& runtime_;
    connection* front_ = nullptr; // null once it is destroyed
    connection_properties properties_;
    liveness_options alive_options_;
    std::shared_ptr<lane> control_;
    std::vector<place> places_;
    std::size_t fencing_ = 0;
    error_code over_;         // why the connection has ended
    bool down_waits_ = false; // for a handler to be told by
    bool closed_told_ = false;
    bool abandoned_ = false; // the runtime has ended

    observer_list observers_;
    std::vector<std::pair<control_kind, std::vector<std::byte>>> early_; // at most early_control_max
    inbox arrivals_;
    lane::message_handler message_;
    lane::down_handler down_;
    std::array<std::function<void(std::span<const std::byte>)>, control_kinds> control_handlers_;
    std::vector<std::function<void()>> when_fenced_;
    std::vector<news> news_;
    tie* telling_ = nullptr; // the runtime's, while there is news
    completion::timer tell_;

    std::optional<liveness> alive_;
    completion::timer heartbeat_;

    std::unique_ptr<healer> healer_;        // the client's, where the connection recovers
    std::optional<grant_options> granting_; // the server's
    std::uint64_t number_ = 0;
    completion::timer give_up_;

    boost::asio::any_completion_handler<void(error_code)> closing_;
    bool goodbye_sent_ = false;
    error_code close_result_;
    completion::timer close_limit_;
    completion::timer close_step_;
};

} // namespace penstock::connection
