#pragma once

// How a client's connection is made whole again, as a pure state machine: it is told what happened and says what to do.
//
//   a lane:          up -> fencing -> waiting -> asking -> opening -> up       (denied, not opened: waiting, longer)
//   the connection:  control lane lost -> every lane fenced -> waiting -> dialing -> up      (not dialed: waiting, longer)
//
// No I/O and no clock here; the layer around performs the actions.

#include <penstock/connection/connection.hpp>
#include <penstock/core/clock.hpp>
#include <penstock/core/random.hpp>

#include <cstdint>
#include <optional>
#include <vector>

namespace penstock::connection {

struct recovery_action {
    enum class kind : std::uint8_t {
        ask_for_ticket, ///< for `lane`, by the control lane
        open_lane,      ///< `lane`, with the ticket granted
        dial,           ///< the whole handshake, with the next epoch; lanes being opened are given up
        give_up,        ///< the connection is over
    };
    kind what{};
    std::size_t lane = 0;

    friend bool operator==(const recovery_action&, const recovery_action&) = default;
};

/// Threads: one. Allocation: none after construction.
class recovery {
public:
    recovery(const recovery_options& options, std::size_t lanes, random_source& random);

    void lane_lost(std::size_t lane, time_point now);
    void lane_fenced(std::size_t lane, time_point now);
    /// Lanes that are still up are lost too, and told as such.
    void control_lost(time_point now);

    void ticket_granted(std::size_t lane) noexcept;
    void ticket_denied(std::size_t lane, time_point now);
    void lane_opened(std::size_t lane, time_point now) noexcept;
    void lane_not_opened(std::size_t lane, time_point now);
    /// All lanes are up.
    void dialed(time_point now) noexcept;
    void not_dialed(time_point now);

    /// What is to be done at this time; ask until there is nothing.
    std::optional<recovery_action> next(time_point now);
    /// When to ask again at the latest; time_point_never if only an event can change anything.
    time_point wake() const noexcept;

    /// Something is down.
    bool active() const noexcept;
    /// A ticket for this lane was asked for and is awaited.
    bool asking(std::size_t lane) const noexcept { return lanes_[lane].now == step::asking; }

private:
    enum class step : std::uint8_t { up, fencing, waiting, asking, granted, opening };

    struct track {
        step now = step::up;
        unsigned attempts = 0;
        time_point due{};   // of waiting; of asking: when it counts as denied
        time_point since{}; // up since
    };

    void wait(track& what, time_point now);
    duration delay(unsigned attempts);
    void note_outage(time_point now) noexcept;
    std::optional<recovery_action> next_dial(time_point now);

    recovery_options options_;
    random_source& random_;
    std::vector<track> lanes_;
    track whole_;                             // `up`: the control lane is there
    time_point out_since_ = time_point_never; // since when no lane is up
    bool over_ = false;
};

} // namespace penstock::connection
