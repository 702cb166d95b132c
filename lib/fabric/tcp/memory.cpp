#include "fabric/tcp/memory.hpp"

#include <penstock/core/fork.hpp>

#include "fabric/tcp/device.hpp"
#include "fabric/tcp/queue_pair.hpp"

#include <new>

namespace penstock::fabric::tcp {
namespace {

constexpr access remote_rights = access::remote_read | access::remote_write | access::remote_atomic;

bool needs_local_write(access rights) noexcept
{
    return has_access(rights, access::remote_write) || has_access(rights, access::remote_atomic);
}

} // namespace

region::~region()
{
    if (core::forked())
        return;
    if (!alive_)
        return;
    if (const auto error = deregister(); error)
        log_.error("a memory region was destroyed while a window is bound to it: its key stays alive; "
                   "invalidate or destroy the window first");
}

error_code region::deregister()
{
    if (core::forked())
        return error_code(errc::forked);
    if (!alive_)
        return errc::wrong_state;
    if (const auto error = keys_.end_region(key_); error)
        return error;
    keys_.release(key_ >> 8U);
    alive_ = false;
    return {};
}

window::~window()
{
    if (core::forked())
        return;
    keys_.end_any_window(key_);
    // A bind that was posted but never executed leaves an older key alive.
    for (std::uint32_t tag = 0; keys_.alive(key_ >> 8U) && tag != 256; ++tag)
        keys_.end_any_window((key_ & ~0xffU) | tag);
    keys_.release(key_ >> 8U);
}

bool bind_window(const key_context& context, const send_entry& entry) noexcept
{
    auto& keys = *context.keys;
    if (keys.alive(entry.bind_key >> 8U) || entry.bind_length == 0 || !has_access(remote_rights, entry.bind_rights))
        return false;
    key_request wanted{entry.bind_region_key, entry.bind_address, entry.bind_length, access::window_bind,
        context.domain, context.queue_pair, false};
    if (needs_local_write(entry.bind_rights))
        wanted.rights = wanted.rights | access::local_write;
    if (!keys.bind(entry.bind_region_key, wanted))
        return false;
    key_grant grant;
    grant.kind = key_kind::window;
    grant.rights = entry.bind_rights;
    grant.domain = context.domain;
    grant.owner = context.queue_pair;
    grant.region = entry.bind_region_key;
    grant.base = entry.bind_address;
    grant.length = entry.bind_length;
    keys.enliven(entry.bind_key, grant);
    return true;
}

result<std::unique_ptr<memory_region>> domain::register_memory(std::span<std::byte> bytes, access rights)
{
    if (core::forked())
        return error_code(errc::forked);
    if (bytes.empty() || (needs_local_write(rights) && !has_access(rights, access::local_write)))
        return error_code(errc::invalid_argument);
    auto& keys = owner_.keys();
    std::uint32_t index = 0;
    if (!keys.reserve(index))
        return error_code(errc::no_memory);
    key_grant grant;
    grant.rights = rights;
    grant.domain = number_;
    grant.base = reinterpret_cast<std::uintptr_t>(bytes.data());
    grant.length = bytes.size();
    const auto key = keys.fresh_key(index);
    keys.enliven(key, grant);
    return std::unique_ptr<memory_region>(std::make_unique<region>(keys, owner_.log(), bytes, key));
}

result<std::unique_ptr<memory_window>> domain::allocate_window()
{
    if (core::forked())
        return error_code(errc::forked);
    auto& keys = owner_.keys();
    std::uint32_t index = 0;
    if (!keys.reserve(index))
        return error_code(errc::no_memory);
    return std::unique_ptr<memory_window>(std::make_unique<window>(keys, keys.fresh_key(index), number_));
}

result<std::unique_ptr<shared_receive_queue>> domain::create_shared_receive_queue(
    const shared_receive_queue_options& options)
{
    if (core::forked())
        return error_code(errc::forked);
    const auto& limits = owner_.limits();
    if (options.receive_depth == 0 || options.receive_depth > limits.shared_receive_depth_max
        || options.receive_segments_max > limits.segments_max)
        return error_code(errc::invalid_argument);
    return std::unique_ptr<shared_receive_queue>(
        std::make_unique<shared_receives>(number_, options.receive_depth, options.receive_segments_max));
}

result<std::unique_ptr<fabric::queue_pair>> domain::create_queue_pair(const queue_pair_options& options)
{
    if (core::forked())
        return error_code(errc::forked);
    return queue_pair::create(owner_, number_, options);
}

} // namespace penstock::fabric::tcp
