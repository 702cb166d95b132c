#include <penstock/fabric/types.hpp>

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

} // namespace penstock::fabric
