#pragma once

#include "fabric/tcp/channel.hpp"
#include "fabric/tcp/handshake.hpp"

#include <penstock/fabric/connection.hpp>

#include <memory>
#include <unordered_map>

namespace penstock::fabric::tcp {

class listener final : public fabric::listener, private waiter {
public:
    static result<std::unique_ptr<fabric::listener>> create(
        channel& home, const endpoint& local, const listen_options& options);
    listener(channel& home, unique_descriptor socket, const listen_options& options);
    ~listener() override;

    endpoint local_endpoint() const noexcept override { return local_; }
    std::uint64_t refused_handshakes() const noexcept override { return refused_; }

private:
    /// A peer whose request has not come yet.
    class pending final : public waiter {
    public:
        pending(listener& owner, unique_descriptor from)
            : socket(std::move(from))
            , owner_(owner)
        {}
        void on_ready() override { owner_.read_request(*this); }
        void on_timeout() override { owner_.refuse(*this); }

        unique_descriptor socket;
        handshake_reader reader;

    private:
        listener& owner_;
    };

    void on_ready() override;
    bool accept_one();
    void shed_one();
    void read_request(pending& from);
    void refuse(pending& who);

    channel& home_;
    listen_options options_;
    unique_descriptor socket_;
    unique_descriptor reserve_; // given up to accept and close a connection when descriptors run out
    endpoint local_;
    std::uint64_t refused_ = 0;
    time_point last_complaint_ = time_point::min();
    std::unordered_map<std::uint64_t, std::unique_ptr<pending>> pending_;
};

} // namespace penstock::fabric::tcp
