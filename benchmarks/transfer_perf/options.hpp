#pragma once

// What the two roles agree on.

#include <penstock/connection/connection.hpp>
#include <penstock/connection/runtime.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace transfer_perf {

enum class operation : std::uint8_t { read, write, send };

struct options {
    operation what = operation::read;
    penstock::fabric::endpoint where{};
    penstock::transport_choice transport = penstock::transport_choice::automatic;
    std::size_t size = std::size_t{64} << 10U;
    std::uint32_t depth = 16;
    std::chrono::duration<double> length{3.0};
    std::size_t data = 0; ///< bytes that the server exposes; 0: as many as one operation's size needs
};

/// The server's answer to the first message of a connection: where its data is. In the byte order of both hosts.
struct grant {
    std::uint64_t address = 0;
    std::uint64_t bytes = 0;
    std::uint32_t key = 0;
    std::uint32_t zero = 0;
};

inline constexpr std::uint32_t message_bytes_max = 4'096;
inline constexpr penstock::connection::message_limits messages{message_bytes_max, message_bytes_max};

/// Seldom gives its executor a turn: nothing else is done here.
inline penstock::runtime_options spinning(const options& with, std::chrono::microseconds spin)
{
    penstock::runtime_options wanted;
    wanted.transport = with.transport;
    wanted.polling.spin = spin;
    wanted.polling.turns_per_post = wanted.polling.busy_turns_per_post = 4'096;
    return wanted;
}

void serve(const options& with);
/// Measures one kind of operation and prints the result.
void measure(const options& with);

} // namespace transfer_perf
