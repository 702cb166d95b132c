#include <penstock/fabric/verbs.hpp>

#include "support/catch.hpp"

using namespace penstock;
using namespace penstock::fabric;

TEST_CASE("a provider says when there is no such device", "[verbs]")
{
    const auto source = make_verbs_provider();
    CHECK(source->kind() == transport::verbs);
    CHECK(source->open("no-such-device").error() == errc::no_device);
    const auto infos = source->devices();
    const auto first = source->open();
    CHECK(first.has_value() == !infos.empty());
    if (infos.empty())
        CHECK(first.error() == errc::no_device);
}

TEST_CASE("a connection channel works or says why not", "[verbs]")
{
    const auto source = make_verbs_provider();
    auto channel = source->create_connection_channel();
    if (!channel) {
        CHECK(channel.error() == errc::no_device);
        return;
    }
    CHECK(channel.value()->descriptor() >= 0);
    std::array<connection_event, 2> events;
    CHECK(channel.value()->poll(events) == 0);
}
