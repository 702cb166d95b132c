#pragma once

// An acceptor inside: its listeners, handshakes in progress, and the connections that may ask for lanes.

#include "connection_core.hpp"
#include "handshake.hpp"

#include <penstock/connection/acceptor.hpp>

#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace penstock::connection {

/// A client in its handshake: its control lane, the tickets it was given, and the lanes it has opened so far.
struct half_open {
    std::shared_ptr<lane> control;
    std::unique_ptr<server_handshake> handshake;
    std::vector<std::shared_ptr<lane>> lanes;
    completion::timer timeout;
    fabric::endpoint remote;
    std::uint64_t number = 0;
};

struct acceptor::state : std::enable_shared_from_this<acceptor::state> {
    state(runtime& rt, const acceptor_options& wanted, handler call)
        : owner(rt)
        , options(wanted)
        , accepted(std::move(call))
    {}

    void check_options() const;
    void listen();
    void listen_by_verbs(std::uint16_t port);
    void make_offer();
    void stop();

    void request(fabric::transport kind, fabric::connection_event& event);
    void open_control(fabric::connection_event& event);
    void message(half_open& from, std::span<const std::byte> bytes);
    void hello_came(half_open& from);
    void send_welcome(half_open& to);
    half_open* half_open_by_number(std::uint64_t number) noexcept;

    void open_data(fabric::transport kind, fabric::connection_event& event);
    void open_first_lane(half_open& which, std::size_t index, fabric::connection_event& event);
    void open_lane_again(
        const std::shared_ptr<connection_core>& whole, std::size_t index, fabric::connection_event& event);
    void first_lane_established(std::uint64_t number);
    result<std::shared_ptr<lane>> create_lane(fabric::transport kind, std::uint32_t depth);
    void accept_lane(lane& opened, fabric::connection& link);
    void complete(half_open& which);

    void refuse(fabric::connection& incoming);
    void drop_later(half_open& which, bool count);
    void drop(const half_open& which, bool count);
    bool room_for(const boost::asio::ip::address& from) const;
    void leave(const boost::asio::ip::address& from) noexcept;

    runtime& owner;
    acceptor_options options;
    handler accepted; // null once the acceptor is gone
    std::unique_ptr<fabric::listener> tcp_listener;
    std::unique_ptr<fabric::listener> verbs_listener;
    std::string transports;
    server_handshake::offer offer;
    std::list<half_open> half_opens;
    std::map<std::uint64_t, std::weak_ptr<connection_core>> open; // until they are fenced
    std::map<identifier, std::uint64_t> instances;                // of those
    std::map<boost::asio::ip::address, std::uint32_t> addresses;  // connections and half-open ones of each
    acceptor_statistics counters;
    std::uint64_t next_number = 1;
};

} // namespace penstock::connection
