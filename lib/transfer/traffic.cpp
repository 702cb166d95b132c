#include <penstock/transfer/traffic.hpp>

#include <penstock/transfer/exposure_ledger.hpp>

#include <cassert>

namespace penstock::transfer {

traffic& traffic::of(connection::connection& over)
{
    return exposure_ledger::of(over).work();
}

traffic::traffic(connection::connection& over, exposure_ledger& ledger)
    : runtime_(over.owner())
    , over_(&over)
    , ledger_(&ledger)
{
    over.add(*this);
}

// Only when the runtime ends are there flows left: their requests were destroyed, and nobody will end them.
traffic::~traffic()
{
    while (!in_progress_.empty()) {
        in_progress_.front().abandon();
    }
}

void traffic::connection_gone() noexcept
{
    const boost::intrusive_ptr<traffic> self(this);
    listen_for_room(nullptr);
    unlink();
    over_ = nullptr;
    ledger_ = nullptr;
    for (auto each = in_progress_.begin(); each != in_progress_.end();) {
        (each++)->stop(errc::connection_closed); // may take itself out
    }
}

error_code traffic::begin_use(const remote_buffer& what) noexcept
{
    return ledger_ == nullptr ? make_error_code(errc::connection_closed) : ledger_->begin_use(what);
}

void traffic::end_use(std::uint64_t id) noexcept
{
    if (ledger_ != nullptr) {
        ledger_->end_use(id);
    }
}

traffic::choice traffic::choose(const remote_buffer& what) const noexcept
{
    choice best;
    std::uint32_t room = 0;
    if (over_ == nullptr) {
        return best;
    }
    for (const auto& key : what.keys()) {
        auto* const lane = over_->lane_at(key.lane);
        if (lane != nullptr && !lane->failed() && (best.on == nullptr || lane->send_room() > room)) {
            best = {lane, key.lane, key.rkey};
            room = lane->send_room();
        }
    }
    return best;
}

std::uint32_t traffic::live_lanes() const noexcept
{
    std::uint32_t count = 0;
    for (std::size_t index = 0; over_ != nullptr && index != over_->lane_count(); ++index) {
        const auto* const lane = over_->lane_at(index);
        count += lane != nullptr && !lane->failed() ? 1U : 0U;
    }
    return count;
}

error_code traffic::why_no_lane() const noexcept
{
    if (over_ == nullptr) {
        return errc::connection_closed;
    }
    const auto lost = over_->lost();
    return lost.failed() ? lost : make_error_code(errc::lane_error);
}

error_code traffic::wait_for_room(flow& which) noexcept
{
    if (waiting_.size() >= waiting_max) {
        return errc::send_queue_full;
    }
    if (waiting_.empty()) {
        listen_for_room(this);
    }
    waiting_.push_back(which);
    return {};
}

// First come, first served: the first that finds no room keeps the others waiting.
void traffic::room() noexcept
{
    const boost::intrusive_ptr<traffic> self(this);
    while (!waiting_.empty()) {
        flow& first = waiting_.front();
        if (!first.post_more()) {
            return;
        }
        first.waiting.unlink();
        first.settle();
    }
    listen_for_room(nullptr);
}

void traffic::listen_for_room(connection::room_listener* who) noexcept
{
    for (std::size_t index = 0; over_ != nullptr && index != over_->lane_count(); ++index) {
        if (auto* const lane = over_->lane_at(index); lane != nullptr) {
            lane->on_room(who);
        }
    }
}

void traffic::lane_up(std::size_t index)
{
    auto* const lane = over_->lane_at(index); // told in a later turn: it may be gone again
    if (lane != nullptr && somebody_waits()) {
        lane->on_room(this);
        room();
    }
}

void traffic::lane_lost(std::size_t, error_code)
{
    room(); // what waited for it goes elsewhere, or fails
}

single_flow& traffic::acquire_single()
{
    if (free_.empty()) {
        singles_.push_back(std::make_unique<single_flow>(*this));
        free_.reserve(singles_.size());
        return *singles_.back();
    }
    auto& taken = *free_.back();
    free_.pop_back();
    return taken;
}

} // namespace penstock::transfer
