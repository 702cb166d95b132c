#include <penstock/transfer/exposure_ledger.hpp>

#include "core/little_endian.hpp"
#include "transfer/exposure_operation.hpp"

#include <array>

namespace penstock::transfer {
namespace {

using connection::control_kind;

constexpr std::size_t unsent_max = 1024;
constexpr std::chrono::milliseconds again_interval{1};

/// 0 names no exposure; nor does what is malformed, which is ignored: it costs the peer what it did not say.
std::uint64_t id_of(std::span<const std::byte> payload) noexcept
{
    return payload.size() == sizeof(std::uint64_t) ? core::load<std::uint64_t>(payload, 0) : 0;
}

} // namespace

exposure_ledger& exposure_ledger::of(connection::connection& over)
{
    auto& place = over.transfers();
    if (!place) {
        place = std::make_unique<exposure_ledger>(over);
    }
    return static_cast<exposure_ledger&>(*place);
}

exposure_ledger::exposure_ledger(connection::connection& over)
    : connection_(over)
    , work_(new traffic(over, *this))
    , again_([this] { send_again(); })
{
    unsent_.reserve(unsent_max);
    over.on_control(control_kind::revoke, [this](std::span<const std::byte> payload) { on_revoke(payload); });
    over.on_control(control_kind::released, [this](std::span<const std::byte> payload) { on_released(payload); });
}

exposure_ledger::~exposure_ledger()
{
    work_->connection_gone();
    connection_.on_control(control_kind::revoke, nullptr);
    connection_.on_control(control_kind::released, nullptr);
    for (const auto& [id, exposed] : exposed_) {
        exposed->connection_gone();
    }
}

error_code exposure_ledger::begin_use(const remote_buffer& what) noexcept
{
    if (what.epoch() != connection_.properties().epoch) {
        return errc::exposure_revoked;
    }
    return use_.begin(what.id());
}

void exposure_ledger::end_use(std::uint64_t id) noexcept
{
    if (use_.end(id)) {
        send_released(id);
    }
}

// Unique over the epochs too: the peer's connection may be a new object, while ours remembers what was revoked in the old one.
std::uint64_t exposure_ledger::add(exposure_operation& what)
{
    const auto id = (std::uint64_t{connection_.properties().epoch} << 40U) + ++made_;
    exposed_.emplace(id, &what);
    return id;
}

error_code exposure_ledger::send(control_kind kind, std::uint64_t id) noexcept
{
    std::array<std::byte, sizeof id> payload{};
    core::store(payload, 0, id);
    return connection_.send_control(kind, payload);
}

void exposure_ledger::on_revoke(std::span<const std::byte> payload) noexcept
{
    if (const auto id = id_of(payload); use_.revoke(id)) {
        send_released(id);
    }
}

// One that is never sent costs the owner its grace, and nobody anything else.
void exposure_ledger::send_released(std::uint64_t id) noexcept
{
    if (send(control_kind::released, id) == errc::send_queue_full && unsent_.size() != unsent_max) {
        unsent_.push_back(id);
        send_later();
    }
}

void exposure_ledger::send_later() noexcept
{
    auto& rt = connection_.owner();
    rt.poller().timers().start(again_, saturating_add(rt.time().now(), again_interval));
}

void exposure_ledger::send_again() noexcept
{
    std::erase_if(
        unsent_, [this](std::uint64_t id) { return send(control_kind::released, id) != errc::send_queue_full; });
    if (!unsent_.empty()) {
        send_later();
    }
}

void exposure_ledger::on_released(std::span<const std::byte> payload)
{
    if (const auto found = exposed_.find(id_of(payload)); found != exposed_.end()) {
        found->second->released();
    }
}

} // namespace penstock::transfer
