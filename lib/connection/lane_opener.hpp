#pragma once

// The active side of opening one lane: resolve, create, connect.

#include <penstock/connection/lane.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <vector>

namespace penstock::connection {

/// Opens one lane, once. Destroying it before the end gives up; what was begun is retired.
/// Threads: the runtime's executor.
class lane_opener {
public:
    using handler = std::function<void(error_code, std::unique_ptr<lane>)>;
    /// Called with the new lane before it is connected, so that no message can be missed.
    using preparer = std::function<void(lane&)>;

    lane_opener(runtime& rt, runtime_device& device, const lane_options& options, std::vector<std::byte> private_data)
        : runtime_(rt)
        , device_(device)
        , options_(options)
        , private_data_(std::move(private_data))
    {}
    lane_opener(const lane_opener&) = delete;
    lane_opener& operator=(const lane_opener&) = delete;
    ~lane_opener();

    /// `done` is called once, never inside this call unless it returns an error, in which case it is not called.
    error_code start(const fabric::endpoint& remote, std::chrono::milliseconds timeout, preparer prepare, handler done);

private:
    void handle(const fabric::connection_event& event);
    error_code connect();
    void finish(error_code error);

    runtime& runtime_;
    runtime_device& device_;
    lane_options options_;
    std::vector<std::byte> private_data_;
    preparer prepare_;
    handler done_;
    std::unique_ptr<fabric::connection> resolving_;
    std::unique_ptr<lane> lane_;
};

} // namespace penstock::connection
