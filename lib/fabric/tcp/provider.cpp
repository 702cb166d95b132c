#include "fabric/tcp/channel.hpp"
#include "fabric/tcp/device.hpp"

#include <penstock/core/fork.hpp>
#include <penstock/fabric/tcp.hpp>

namespace penstock::fabric {
namespace tcp {
namespace {

class provider final : public fabric::provider {
public:
    explicit provider(const tcp_options& options) noexcept
        : options_(with_defaults(options))
    {}

    transport kind() const noexcept override { return transport::tcp; }

    std::vector<device_info> devices() const override { return {describe_device()}; }

    result<std::unique_ptr<fabric::device>> open(std::string_view name) override
    {
        if (!name.empty() && name != device_name)
            return error_code(errc::no_device);
        auto event = make_event();
        if (!event)
            return event.error();
        return std::unique_ptr<fabric::device>(std::make_unique<device>(options_, std::move(*event)));
    }

    result<std::unique_ptr<connection_channel>> create_connection_channel() override
    {
        return channel::create(options_);
    }

private:
    tcp_options options_;
};

} // namespace
} // namespace tcp

std::unique_ptr<provider> make_tcp_provider(const tcp_options& options)
{
    core::watch_forks();
    return std::make_unique<tcp::provider>(options);
}

} // namespace penstock::fabric
