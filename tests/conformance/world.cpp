#include "conformance/world.hpp"

#include <penstock/fabric/tcp.hpp>
#include <penstock/fabric/verbs.hpp>

#include <algorithm>
#include <array>

namespace penstock::conformance {

namespace {

std::unique_ptr<provider> make_provider(const target& on)
{
    return on.kind == transport::verbs ? make_verbs_provider() : make_tcp_provider();
}

std::string device_with(const provider& from, const std::string& address)
{
    const auto devices = from.devices();
    for (const auto& info : devices)
        if (std::find(info.addresses.begin(), info.addresses.end(), address) != info.addresses.end())
            return info.name;
    expect(!devices.empty(), "the provider has a device");
    return devices.front().name;
}

} // namespace

pollable::pollable(world& home)
    : home_(home)
{
    home_.polled_.push_back(this);
}

pollable::~pollable()
{
    std::erase(home_.polled_, this);
}

queue::queue(world& home, device& hardware, std::uint32_t depth)
    : pollable(home)
    , handle(take("create_completion_queue", hardware.create_completion_queue(depth)))
{
    expect(handle->depth() >= depth, "a completion queue is at least as deep as asked for");
}

void queue::poll()
{
    std::array<work_completion, 16> batch;
    const auto count = handle->poll(batch);
    expect(count <= batch.size(), "poll returns no more than fits");
    told.insert(told.end(), batch.begin(), batch.begin() + static_cast<std::ptrdiff_t>(count));
}

work_completion queue::next(std::string_view what, const where& place)
{
    home_.run_until(
        what, [this] { return !told.empty(); }, patience, place);
    const auto completion = told.front();
    told.pop_front();
    return completion;
}

work_completion queue::expect_success(std::uint64_t id, completion_opcode operation, const where& place)
{
    const auto completion = next("completion " + std::to_string(id), place);
    if (completion.id != id || completion.status != completion_status::success || completion.operation != operation)
        fail(
            "expected id " + std::to_string(id) + " success, " + describe(operation) + "; seen " + describe(completion),
            place);
    return completion;
}

work_completion queue::expect_failure(std::uint64_t id, completion_status status, const where& place)
{
    const auto completion = next("failed completion " + std::to_string(id), place);
    if (completion.id != id || completion.status != status)
        fail("expected id " + std::to_string(id) + " " + describe(status) + "; seen " + describe(completion), place);
    // Devices leave anything in the other members: none of it may come through.
    expect(completion.byte_count == 0 && !completion.has_immediate && completion.immediate_data == 0
            && !completion.has_invalidated_key && completion.invalidated_key == 0,
        "a failed completion says nothing but id, status, vendor error and queue pair", place);
    return completion;
}

channel::channel(world& home)
    : pollable(home)
    , handle(take("create_connection_channel", home.source->create_connection_channel()))
{}

// Events carry connections, and those go before their channel.
channel::~channel()
{
    told.clear();
}

void channel::poll()
{
    std::array<connection_event, 8> batch;
    const auto count = handle->poll(batch);
    expect(count <= batch.size(), "poll returns no more than fits");
    for (std::size_t i = 0; i != count; ++i) {
        if (batch.at(i).incoming != nullptr)
            forget(batch.at(i).incoming.get());
        told.push_back(std::move(batch.at(i)));
    }
}

void channel::forget(const connection* gone)
{
    std::erase_if(told, [gone](const connection_event& event) { return event.source == gone; });
}

std::unique_ptr<connection> channel::resolve(const endpoint& remote, const where& place)
{
    auto made = take("resolve", handle->resolve(remote), place);
    forget(made.get());
    return made;
}

connection_event channel::next(std::string_view what, const connection* source, const where& place)
{
    auto found = told.end();
    home_.run_until(
        what,
        [&] {
            found = std::find_if(
                told.begin(), told.end(), [source](const connection_event& event) { return event.source == source; });
            return found != told.end();
        },
        patience, place);
    auto event = std::move(*found);
    told.erase(found);
    return event;
}

connection_event channel::expect_event(connection_event_type type, const connection* source, const where& place)
{
    auto event = next("event " + describe(type), source, place);
    if (event.type != type)
        fail("expected event " + describe(type) + ", seen " + describe(event.type) + ", " + describe(event.error),
            place);
    return event;
}

node::node(provider& from, const std::string& address)
    : hardware(take("open", from.open(device_with(from, address))))
    , domain(take("allocate_protection_domain", hardware->allocate_protection_domain()))
{}

world::world(const target& where_to)
    : on(where_to)
    , source(make_provider(where_to))
    , near(*source, where_to.address)
    , far(*source, where_to.address)
    , active(*this)
    , passive(*this)
{}

void world::turn()
{
    // By index: polling must not add or remove, but a case's predicate may between turns.
    for (std::size_t i = 0; i < polled_.size(); ++i)
        if (!polled_[i]->paused)
            polled_[i]->poll();
}

void world::run_for(milliseconds span)
{
    const auto end = std::chrono::steady_clock::now() + span;
    while (std::chrono::steady_clock::now() < end)
        turn();
}

endpoint world::at(std::uint16_t port) const
{
    return {boost::asio::ip::make_address(on.address), port};
}

endpoint world::at_v6(std::uint16_t port) const
{
    if (!on.address_v6.empty())
        return {boost::asio::ip::make_address(on.address_v6), port};
    for (const auto& text : near.hardware->info().addresses) {
        error_code ignored;
        const auto address = boost::asio::ip::make_address(text, ignored);
        if (!ignored && address.is_v6() && !address.to_v6().is_link_local())
            return {address, port};
    }
    fail("the device has a routable IPv6 address");
}

} // namespace penstock::conformance
