#pragma once

// Endpoints as sockaddr and back.

#include <penstock/fabric/connection.hpp>

#include <sys/socket.h>

namespace penstock::fabric::verbs {

sockaddr_storage to_sockaddr(const endpoint& from) noexcept;

/// Port 0 at the unspecified address where `from` is no IP address.
endpoint to_endpoint(const sockaddr& from) noexcept;

} // namespace penstock::fabric::verbs
