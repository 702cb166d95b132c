#include <penstock/fabric/device.hpp>

namespace penstock::fabric {

std::string_view to_string(transport kind) noexcept
{
    switch (kind) {
    case transport::verbs: return "verbs";
    case transport::tcp: return "tcp";
    case transport::sim: return "sim";
    }
    return "unknown transport";
}

std::string_view to_string(link_layer layer) noexcept
{
    switch (layer) {
    case link_layer::none: return "none";
    case link_layer::infiniband: return "InfiniBand";
    case link_layer::ethernet: return "Ethernet";
    }
    return "unknown link layer";
}

result<path_properties> connection::path() const
{
    return make_error_code(errc::not_supported);
}

endpoint source_for(const device_info& info, const endpoint& remote)
{
    for (const auto& text : info.addresses) {
        error_code error;
        const auto address = boost::asio::ip::make_address(text, error);
        if (!error.failed() && address.is_v4() == remote.address().is_v4())
            return {address, 0};
    }
    return {};
}

} // namespace penstock::fabric
