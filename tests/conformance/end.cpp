#include "conformance/end.hpp"

#include <algorithm>
#include <cstring>

namespace penstock::conformance {

namespace {

constexpr std::size_t page_bytes = 4096;

queue_pair_options pair_options(const end& of)
{
    queue_pair_options options;
    options.send_completions = of.completions->handle.get();
    options.receive_completions = of.completions->handle.get();
    options.shared_receives = of.options.shared;
    options.send_depth = of.options.send_depth;
    options.receive_depth = of.options.receive_depth;
    options.send_segments_max = of.options.segments_max;
    options.receive_segments_max = of.options.segments_max;
    options.inline_bytes_max = of.options.inline_bytes_max;
    return options;
}

work make(opcode operation, std::uint64_t id, segments list)
{
    work made;
    made.request.id = id;
    made.request.operation = operation;
    made.segments = std::move(list);
    return made;
}

std::byte pattern(std::size_t index, std::uint32_t seed)
{
    return static_cast<std::byte>((index * 131U + (index >> 8U) * 17U + seed * 29U + 7U) & 0xffU);
}

template <class Wanted>
void expect_bytes(std::span<const std::byte> seen, const Wanted& wanted, const where& place)
{
    for (std::size_t i = 0; i != seen.size(); ++i)
        if (seen[i] != wanted(i))
            fail("byte " + std::to_string(i) + " of " + std::to_string(seen.size()) + ": expected "
                    + std::to_string(std::to_integer<int>(wanted(i))) + ", seen "
                    + std::to_string(std::to_integer<int>(seen[i])),
                place);
}

} // namespace

pages::pages(std::size_t size)
    : storage_(size + page_bytes)
    , start_(
          storage_.data() + (page_bytes - reinterpret_cast<std::uintptr_t>(storage_.data()) % page_bytes) % page_bytes)
    , size_(size)
{}

end::end(world& in, node& on_side, const end_options& how)
    : home(in)
    , side(on_side)
    , options(how)
    , buffer(how.buffer_bytes)
    , completions(how.completions)
{
    auto& domain = how.domain == nullptr ? *side.domain : *how.domain;
    region = take("register_memory", domain.register_memory(buffer.bytes(), how.rights));
    if (completions == nullptr) {
        owned_completions = std::make_unique<queue>(home, *side.hardware, how.completion_depth);
        completions = owned_completions.get();
    }
    pair = take("create_queue_pair", domain.create_queue_pair(pair_options(*this)));
    expect_equal("state of a new queue pair", pair->state(), queue_pair_state::init);
}

local_segment end::segment(std::size_t offset, std::size_t length) const
{
    return {buffer.at(offset), static_cast<std::uint32_t>(length), region->lkey()};
}

remote_segment end::remote(std::size_t offset) const
{
    return {reinterpret_cast<std::uint64_t>(buffer.at(offset)), region->rkey()};
}

void end::receive(std::uint64_t id, std::size_t offset, std::size_t length, const where& place)
{
    const auto piece = segment(offset, length);
    const receive_request request{id, {&piece, 1}};
    const auto done = pair->post_receive({&request, 1});
    expect_success("post_receive", done.error, place);
}

void end::receive_nothing(std::uint64_t id, const where& place)
{
    const receive_request request{id, {}};
    const auto done = pair->post_receive({&request, 1});
    expect_success("post_receive without segments", done.error, place);
}

void end::expect_in_error(const where& place)
{
    home.run_until(
        "the queue pair is in ERROR", [this] { return in_error(); }, patience, place);
}

void end::expect_ready(const where& place)
{
    expect_equal("state of the queue pair", pair->state(), queue_pair_state::ready_to_send, place);
}

std::unique_ptr<listener> listen(world& home, const listen_options& options)
{
    return take("listen", home.passive.handle->listen(home.at(0), options));
}

std::unique_ptr<connection> resolve(world& home, const endpoint& remote, const where& place)
{
    auto made = home.active.resolve(remote, place);
    home.active.expect_event(connection_event_type::resolved, made.get(), place);
    return made;
}

void connect(world& home, listener& at, end& active, end& passive, const where& place)
{
    active.link = resolve(home, at.local_endpoint(), place);
    connect_options options;
    options.path = active.options.path;
    expect_equal("device of the resolved connection", active.link->device_name(),
        std::string_view(active.side.hardware->info().name), place);
    expect_success("connect", active.link->connect(*active.pair, options), place);
    auto request = home.passive.expect_event(connection_event_type::connect_request, nullptr, place);
    expect(request.incoming != nullptr, "a connect request brings its connection", place);
    passive.link = std::move(request.incoming);
    options.path = passive.options.path;
    expect_success("accept", passive.link->accept(*passive.pair, options), place);
    home.active.expect_event(connection_event_type::established, active.link.get(), place);
    home.passive.expect_event(connection_event_type::established, passive.link.get(), place);
    active.expect_ready(place);
    passive.expect_ready(place);
}

void connect(world& home, end& active, end& passive, const where& place)
{
    const auto at = listen(home);
    connect(home, *at, active, passive, place);
}

linked::linked(world& home, const end_options& active, const end_options& passive)
    : a(home, home.near, active)
    , b(home, home.far, passive)
{
    connect(home, a, b);
}

work send(std::uint64_t id, segments from)
{
    return make(opcode::send, id, std::move(from));
}

work send_with_immediate(std::uint64_t id, segments from, std::uint32_t immediate)
{
    auto made = make(opcode::send_with_immediate, id, std::move(from));
    made.request.immediate_data = immediate;
    return made;
}

work send_with_invalidate(std::uint64_t id, segments from, std::uint32_t key)
{
    auto made = make(opcode::send_with_invalidate, id, std::move(from));
    made.request.invalidate_key = key;
    return made;
}

work write(std::uint64_t id, segments from, remote_segment to)
{
    auto made = make(opcode::write, id, std::move(from));
    made.request.remote = to;
    return made;
}

work write_with_immediate(std::uint64_t id, segments from, remote_segment to, std::uint32_t immediate)
{
    auto made = make(opcode::write_with_immediate, id, std::move(from));
    made.request.remote = to;
    made.request.immediate_data = immediate;
    return made;
}

work read(std::uint64_t id, segments to, remote_segment from)
{
    auto made = make(opcode::read, id, std::move(to));
    made.request.remote = from;
    return made;
}

work compare_swap(std::uint64_t id, local_segment old, remote_segment at, std::uint64_t expected, std::uint64_t desired)
{
    auto made = make(opcode::compare_swap, id, {old});
    made.request.remote = at;
    made.request.compare_add = expected;
    made.request.swap = desired;
    return made;
}

work fetch_add(std::uint64_t id, local_segment old, remote_segment at, std::uint64_t addend)
{
    auto made = make(opcode::fetch_add, id, {old});
    made.request.remote = at;
    made.request.compare_add = addend;
    return made;
}

work bind(
    std::uint64_t id, memory_window& window, const end& over, std::size_t offset, std::size_t length, access rights)
{
    auto made = make(opcode::bind_window, id, {});
    made.request.bind = {&window, over.region.get(), over.buffer.at(offset), length, rights};
    return made;
}

work local_invalidate(std::uint64_t id, std::uint32_t key)
{
    auto made = make(opcode::local_invalidate, id, {});
    made.request.invalidate_key = key;
    return made;
}

post_result try_post(queue_pair& pair, std::vector<work> list)
{
    std::vector<send_request> requests;
    for (auto& item : list) {
        item.request.local = item.segments;
        requests.push_back(item.request);
    }
    return pair.post_send(requests);
}

void post(end& from, std::vector<work> list, const where& place)
{
    const auto count = list.size();
    const auto done = try_post(*from.pair, std::move(list));
    expect_success("post_send", done.error, place);
    expect_equal("requests posted", done.posted, count, place);
}

std::unique_ptr<memory_window> make_window(end& owner, const where& place)
{
    return take("allocate_window", owner.side.domain->allocate_window(), place);
}

void bind_and_wait(
    end& over, memory_window& window, std::size_t offset, std::size_t length, access rights, const where& place)
{
    constexpr std::uint64_t id = 0xb1bdU;
    const auto key = window.next_key();
    post(over, {bind(id, window, over, offset, length, rights)}, place);
    expect_equal("key after the bind was posted", window.key(), key, place);
    over.completions->expect_success(id, completion_opcode::bind_window, place);
}

void fill(std::span<std::byte> bytes, std::uint32_t seed)
{
    for (std::size_t i = 0; i != bytes.size(); ++i)
        bytes[i] = pattern(i, seed);
}

void fill_with(std::span<std::byte> bytes, std::byte value)
{
    std::memset(bytes.data(), std::to_integer<int>(value), bytes.size());
}

void expect_pattern(std::span<const std::byte> bytes, std::uint32_t seed, const where& place)
{
    expect_bytes(
        bytes, [seed](std::size_t i) { return pattern(i, seed); }, place);
}

void expect_filled_with(std::span<const std::byte> bytes, std::byte value, const where& place)
{
    expect_bytes(
        bytes, [value](std::size_t) { return value; }, place);
}

__attribute__((no_sanitize("thread"))) std::byte peek(const std::byte* at)
{
    return *const_cast<const volatile std::byte*>(at);
}

std::uint64_t load_u64(const std::byte* at)
{
    std::uint64_t value = 0;
    std::memcpy(&value, at, sizeof value);
    return value;
}

void store_u64(std::byte* at, std::uint64_t value)
{
    std::memcpy(at, &value, sizeof value);
}

std::uint64_t numbers::next()
{
    state_ += 0x9e3779b97f4a7c15U;
    auto z = state_;
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31U);
}

} // namespace penstock::conformance
