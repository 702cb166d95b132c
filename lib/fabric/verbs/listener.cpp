#include "fabric/verbs/listener.hpp"

#include <penstock/core/fork.hpp>

#include "fabric/verbs/addresses.hpp"
#include "fabric/verbs/connection_channel.hpp"
#include "fabric/verbs/errors.hpp"

#include <algorithm>
#include <cerrno>
#include <limits>

namespace penstock::fabric::verbs {

result<std::unique_ptr<listener>> verbs_listener::create(
    verbs_connection_channel& channel, const endpoint& local, const listen_options& options)
{
    if (options.backlog == 0 || options.handshake_timeout.count() <= 0)
        return make_error_code(errc::invalid_argument);
    std::unique_ptr<verbs_listener> made(new verbs_listener(options));
    if (rdma_create_id(&channel.native(), &made->id_, static_cast<cm_target*>(made.get()), RDMA_PS_TCP) != 0)
        return error_from_errno(errno);
    auto address = to_sockaddr(local);
    if (rdma_bind_addr(made->id_, reinterpret_cast<sockaddr*>(&address)) != 0)
        return errno == ENODEV ? make_error_code(errc::no_device) : error_from_errno(errno);
    const auto backlog = std::min<std::uint32_t>(options.backlog, std::numeric_limits<int>::max());
    if (rdma_listen(made->id_, static_cast<int>(backlog)) != 0)
        return error_from_errno(errno);
    return std::unique_ptr<listener>(std::move(made));
}

verbs_listener::~verbs_listener()
{
    if (core::forked())
        return; // the parent's: the device must not hear of it
    if (id_ != nullptr)
        rdma_destroy_id(id_);
}

endpoint verbs_listener::local_endpoint() const noexcept
{
    return to_endpoint(*rdma_get_local_addr(id_));
}

} // namespace penstock::fabric::verbs
