#pragma once

// What a connection is inside: its lanes, who watches them, and its end. It outlives the connection object until every lane is
// fenced and everybody has been told.

#include "handshake_wire.hpp"

#include <penstock/connection/connection.hpp>

#include <boost/intrusive/list.hpp>

#include <array>
#include <memory>
#include <vector>

namespace penstock::connection {

/// Ownership: shared by the connection object, by the fences of its lanes, and, while there is something to tell, by the runtime.
/// Threads: the runtime's executor.
class connection_core : public std::enable_shared_from_this<connection_core> {
public:
    using lanes = std::vector<std::shared_ptr<lane>>;

    connection_core(runtime& rt, connection_properties agreed, std::shared_ptr<lane> control, lanes data);
    connection_core(const connection_core&) = delete;
    connection_core& operator=(const connection_core&) = delete;
    ~connection_core();

    const connection_properties& properties() const noexcept { return properties_; }
    runtime& owner() noexcept { return runtime_; }
    error_code lost() const noexcept { return over_; }

    void attach(connection& front);
    void detach() noexcept { front_ = nullptr; }

    void add(lane_observer& observer) { observers_.push_back(observer); }
    void on_message(lane::message_handler handler);
    void on_down(lane::down_handler handler);
    void on_control(control_kind kind, std::function<void(std::span<const std::byte>)> handler);
    error_code send_control(control_kind kind, std::span<const std::byte> payload);
    void close(std::function<void()> fenced);

private:
    using observer_list = boost::intrusive::list<lane_observer, boost::intrusive::constant_time_size<false>>;

    /// Something that observers or the owner are still to be told.
    struct news {
        enum class kind : std::uint8_t { lane_lost, lane_fenced, down, closed };
        kind what{};
        std::size_t lane = 0;
        error_code why{};
    };

    void watch_control();
    void watch_lane(std::size_t index);
    void control_message(std::span<const std::byte> message);
    void take_out(std::size_t index, error_code why);
    void fenced(std::size_t index);
    void end(error_code why);
    void tell(const news& what);
    void tell_next();
    void tell_observers(const news& what);
    void tell_down(error_code why);
    void tell_closed(const news& what);

    runtime& runtime_;
    connection* front_ = nullptr; // null once it is destroyed
    connection_properties properties_;
    std::shared_ptr<lane> control_;
    lanes lanes_; // null where a lane is down
    std::size_t fencing_ = 0;
    error_code over_;         // why the connection has ended
    bool down_waits_ = false; // for a handler to be told by
    observer_list observers_;
    lane::message_handler message_;
    lane::down_handler down_;
    std::array<std::function<void(std::span<const std::byte>)>, control_kinds> control_handlers_;
    std::function<void()> fenced_;
    bool closed_told_ = false;
    std::vector<news> news_;
    completion::timer tell_;
};

} // namespace penstock::connection
