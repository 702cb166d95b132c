#pragma once

#include <penstock/connection/connection.hpp>

#include <cstdint>
#include <string>

namespace penstock::fence_test {

struct owner_options {
    transport_choice transport = transport_choice::tcp;
    fabric::endpoint peer{};
    std::uint64_t operations = 4000;
    std::uint32_t depth = 16;
    bool windows = true;
    bool fence = true; ///< false: the buffer is taken back when time is up, without waiting for the revocation
    std::uint64_t seed = 1;
};

struct figures {
    std::uint64_t operations = 0;
    std::uint64_t answered = 0; ///< before their time was up
    std::uint64_t timed_out = 0;
    std::uint64_t late = 0;       ///< answered after that: bytes were under way when the time was up
    std::uint64_t unanswered = 0; ///< revocations that the peer was told not to answer
    std::uint64_t stray_operations = 0;
    std::uint64_t stray_bytes = 0;
    std::uint64_t fences_failed = 0;
    std::uint64_t lanes_lost_rude = 0; ///< by a write after an unanswered revocation
    std::uint64_t lanes_lost = 0;      ///< where the peer answered
    std::uint64_t quarantined = 0;
    std::string trouble; ///< why it was given up
};

figures run_owner(const owner_options& options);

} // namespace penstock::fence_test
