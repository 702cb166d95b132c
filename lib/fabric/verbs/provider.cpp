#include "fabric/verbs/provider.hpp"

#include <penstock/core/fork.hpp>

#include "fabric/verbs/connection_channel.hpp"
#include "fabric/verbs/device.hpp"
#include "fabric/verbs/device_list.hpp"
#include "fabric/verbs/errors.hpp"

#include <algorithm>
#include <cerrno>

namespace penstock::fabric {

std::unique_ptr<provider> make_verbs_provider(const verbs_options& options)
{
    return std::make_unique<verbs::verbs_provider>(options);
}

} // namespace penstock::fabric

namespace penstock::fabric::verbs {
namespace {

/// Registered pages must survive a fork of the application. Only the first call counts, and only before any
/// registration of the process. Not where the kernel copies them for the child: the call would take them away from it, with
/// whatever else is on the first and the last page.
void prepare_for_fork(const logger& log)
{
    static const int error = ibv_is_fork_initialized() == IBV_FORK_UNNEEDED ? 0 : ibv_fork_init();
    if (error != 0)
        log.warning("ibv_fork_init failed: a fork() of this process may break registered memory");
}

struct context_closer {
    void operator()(ibv_context* context) const noexcept { ibv_close_device(context); }
};

using owned_context = std::unique_ptr<ibv_context, context_closer>;

} // namespace

verbs_provider::verbs_provider(const verbs_options& options)
    : time_(options.time != nullptr ? options.time : &system_clock_source())
    , log_(options.log)
{
    core::watch_forks();
    prepare_for_fork(log_);
}

std::vector<device_info> verbs_provider::devices() const
{
    if (core::forked())
        return {};
    std::vector<device_info> infos;
    const device_list list;
    for (ibv_device* candidate : list.devices()) {
        const owned_context context(ibv_open_device(candidate));
        if (context != nullptr) {
            infos.push_back(describe(*context, {}));
            continue;
        }
        device_info info;
        info.name = ibv_get_device_name(candidate);
        info.kind = transport::verbs;
        info.state = "cannot be opened: " + make_system_error(errno).message();
        infos.push_back(std::move(info));
    }
    std::sort(infos.begin(), infos.end(), better);
    return infos;
}

result<std::unique_ptr<device>> verbs_provider::open(std::string_view name)
{
    if (core::forked())
        return make_error_code(errc::forked);
    auto wish = parse_path_wish(name);
    if (!wish)
        return wish.error();
    if (wish->name.empty()) {
        const auto infos = devices();
        if (infos.empty())
            return make_error_code(errc::no_device);
        wish->name = infos.front().name;
    }
    const device_list list;
    for (ibv_device* candidate : list.devices()) {
        if (wish->name != ibv_get_device_name(candidate))
            continue;
        ibv_context* const context = ibv_open_device(candidate);
        if (context == nullptr)
            return error_from_errno(errno);
        return verbs_device::adopt(*this, *context, *wish);
    }
    return make_error_code(errc::no_device);
}

result<std::unique_ptr<connection_channel>> verbs_provider::create_connection_channel()
{
    if (core::forked())
        return make_error_code(errc::forked);
    return verbs_connection_channel::create(*this);
}

} // namespace penstock::fabric::verbs
