#pragma once

// Reading and writing the handshake messages: a header and the private data behind it, and not one byte more, because
// the queue pair reads on from there.

#include "fabric/tcp/frame.hpp"

#include <penstock/fabric/connection.hpp>

namespace penstock::fabric::tcp {

class handshake_reader {
public:
    enum class outcome : std::uint8_t { pending, complete, garbage, closed };

    outcome read(int descriptor) noexcept;
    const handshake_header& header() const noexcept { return header_; }
    received_private_data private_data() const noexcept;

private:
    handshake_header header_{};
    std::array<std::byte, header_bytes + accept_private_data_max> bytes_{};
    std::size_t have_ = 0;
    std::size_t want_ = header_bytes;
};

/// False when the socket did not take it whole: a fresh socket does, unless it is dead.
bool write_handshake(int descriptor, handshake_header header, std::span<const std::byte> private_data) noexcept;

} // namespace penstock::fabric::tcp
