#include "fabric/verbs/addresses.hpp"

#include <netinet/in.h>

#include <cstring>

namespace penstock::fabric::verbs {

sockaddr_storage to_sockaddr(const endpoint& from) noexcept
{
    sockaddr_storage to{};
    std::memcpy(&to, from.data(), std::min(from.size(), sizeof to));
    return to;
}

endpoint to_endpoint(const sockaddr& from) noexcept
{
    endpoint to;
    if (from.sa_family == AF_INET)
        std::memcpy(to.data(), &from, sizeof(sockaddr_in));
    else if (from.sa_family == AF_INET6)
        std::memcpy(to.data(), &from, sizeof(sockaddr_in6));
    return to;
}

} // namespace penstock::fabric::verbs
