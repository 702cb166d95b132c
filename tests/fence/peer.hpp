#pragma once

#include <penstock/connection/acceptor.hpp>

namespace penstock::fence_test {

/// Serves orders for ever; writes its port to the descriptor first.
[[noreturn]] void run_peer(transport_choice transport, const boost::asio::ip::address& address, int tell);

} // namespace penstock::fence_test
