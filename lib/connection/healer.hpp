#pragma once

// Does what `recovery` says: asks for tickets, opens lanes, dials again.

#include "dialer.hpp"
#include "recovery.hpp"

#include <array>
#include <memory>

namespace penstock::connection {

class connection_core;

/// Ownership: child of a client's connection_core. Threads: the runtime's executor.
class healer {
public:
    healer(connection_core& core, const fabric::endpoint& remote, const connect_options& options, const welcome& answer,
        const identifier& instance);
    healer(const healer&) = delete;
    healer& operator=(const healer&) = delete;
    ~healer();

    void lane_lost(std::size_t index, error_code why);
    void lane_fenced(std::size_t index);
    void control_lost(error_code why);
    void granted(std::size_t index, const identifier& secret);
    void denied(std::size_t index);

private:
    void look_again();
    void step();
    void perform(const recovery_action& action);
    void open_lane(std::size_t index);
    void lane_open(std::size_t index, error_code why, std::unique_ptr<lane> opened);
    void dial();
    void dial_ended(error_code why, dialed made);

    connection_core& core_;
    runtime& runtime_;
    fabric::endpoint remote_;
    connect_options options_;
    identifier instance_;
    welcome answer_;
    std::uint32_t epoch_;
    recovery machine_;
    error_code last_error_;
    bool holding_ = false;
    completion::timer step_;
    std::array<identifier, lanes_max> secrets_{};
    std::array<std::unique_ptr<lane_opener>, lanes_max> openers_;
    std::unique_ptr<dialer> dialer_;
};

} // namespace penstock::connection
