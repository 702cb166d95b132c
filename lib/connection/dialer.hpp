#pragma once

// One attempt to make a connection, from the control lane to the last data lane.

#include "handshake.hpp"
#include "lane_opener.hpp"

#include <penstock/connection/connection.hpp>

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace penstock::connection {

/// What both sides have after a handshake.
struct dialed {
    welcome answer;
    std::string reason; ///< for the transport: what the client knows better than the server
    std::shared_ptr<lane> control;
    std::vector<std::shared_ptr<lane>> lanes;
};

connection_properties describe(const dialed& made, const fabric::endpoint& remote);

/// Destroying it before the end gives up; what was begun is retired.
/// Threads: the runtime's executor.
class dialer {
public:
    /// Called once, from a timer's turn; it may destroy the dialer.
    using handler = std::function<void(error_code, dialed)>;

    dialer(runtime& rt, const fabric::endpoint& remote, const connect_options& options, const identifier& instance,
        std::uint32_t epoch, handler done);
    dialer(const dialer&) = delete;
    dialer& operator=(const dialer&) = delete;
    ~dialer();

    void start();

    /// The highest epoch that was tried: the next attempt needs a higher one.
    std::uint32_t epoch() const noexcept { return handshake_.opening().epoch; }

private:
    static hello opening(runtime& rt, const connect_options& options, const identifier& instance, std::uint32_t epoch);
    void open_control();
    void watch_control(lane& control);
    void control_open(error_code why, std::unique_ptr<lane> control);
    void open_lanes();
    void lane_open(std::size_t index, error_code why, std::unique_ptr<lane> opened);
    void lane_failed(error_code why);
    void again_by_tcp();
    void finish_later(error_code error);
    void finish(error_code error);
    void give_up_lanes();
    std::string reason() const;

    runtime& runtime_;
    fabric::endpoint remote_;
    connect_options options_;
    client_handshake handshake_;
    handler done_;
    std::string verbs_failure_;
    bool retry_by_tcp_ = false;
    completion::timer deadline_;
    completion::timer ending_;
    std::shared_ptr<lane> control_;
    std::vector<std::shared_ptr<lane>> lanes_;
    std::unique_ptr<lane_opener> control_opener_;
    std::array<std::unique_ptr<lane_opener>, lanes_max> openers_;
};

} // namespace penstock::connection
