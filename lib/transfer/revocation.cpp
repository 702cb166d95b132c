#include "transfer/revocation.hpp"

#include <utility>

namespace penstock::transfer {

revocation::step revocation::bound(std::size_t handle) noexcept
{
    if (!binding_[handle]) {
        return {}; // its lane is lost meanwhile
    }
    binding_.reset(handle);
    bound_.set(handle);
    return binding_.none() && stage_ == stage::binding ? all_bound() : step{};
}

// A failed request moves its lane to ERROR.
revocation::step revocation::bind_failed(std::size_t handle) noexcept
{
    return binding_[handle] ? lane_lost(handle) : step{};
}

revocation::step revocation::all_bound() noexcept
{
    if (revoked_ || bound_.none()) {
        return begin_invalidating();
    }
    stage_ = stage::open;
    return {action::announce, bound_};
}

revocation::step revocation::revoke_asked() noexcept
{
    if (std::exchange(revoked_, true) || stage_ != stage::open) {
        return {};
    }
    if (bound_.none()) {
        return begin_invalidating(); // nobody to ask
    }
    stage_ = stage::asking;
    return {action::ask_peer, {}};
}

revocation::step revocation::abandoned() noexcept
{
    if (stage_ != stage::open && stage_ != stage::asking) {
        return {};
    }
    revoked_ = true;
    stage_ = stage::fencing;
    return after_change(fail(bound_));
}

revocation::step revocation::released() noexcept
{
    return stage_ == stage::asking ? begin_invalidating() : step{};
}

revocation::step revocation::time_passed() noexcept
{
    switch (stage_) {
    case stage::asking: return begin_invalidating(); // a late access costs the lane
    case stage::invalidating: stage_ = stage::fencing; return fail(invalidating_);
    case stage::fencing: stage_ = stage::ended; return {action::quarantine, {}};
    case stage::binding:
    case stage::open:
    case stage::ended: break;
    }
    return {};
}

revocation::step revocation::begin_invalidating() noexcept
{
    stage_ = stage::invalidating;
    const auto which = std::exchange(bound_, {});
    invalidating_ = which;
    return which.any() ? step{action::invalidate, which} : after_change({});
}

revocation::step revocation::invalidated(std::size_t handle) noexcept
{
    if (!invalidating_[handle]) {
        return {};
    }
    invalidating_.reset(handle);
    return after_change({});
}

revocation::step revocation::invalidate_failed(std::size_t handle) noexcept
{
    if (!invalidating_[handle]) {
        return {};
    }
    return after_change(fail(handles{}.set(handle)));
}

revocation::step revocation::lane_lost(std::size_t handle) noexcept
{
    const auto lost = handles{}.set(handle);
    if ((lost & (binding_ | bound_ | invalidating_)).none()) {
        return {};
    }
    (void)fail(lost);
    if (stage_ == stage::binding) {
        return binding_.none() ? all_bound() : step{};
    }
    if (stage_ == stage::asking && bound_.none()) {
        return begin_invalidating();
    }
    return after_change({});
}

revocation::step revocation::lane_fenced(std::size_t handle) noexcept
{
    const auto step = lane_lost(handle); // where that was not told
    dying_.reset(handle);
    return step.what == action::none ? after_change({}) : step;
}

revocation::step revocation::fail(handles which) noexcept
{
    binding_ &= ~which;
    bound_ &= ~which;
    invalidating_ &= ~which;
    dying_ |= which;
    return {which.any() ? action::fail_lanes : action::none, which};
}

revocation::step revocation::after_change(step otherwise) noexcept
{
    if (!on_the_way_out() || invalidating_.any()) {
        return otherwise;
    }
    if (dying_.any()) {
        stage_ = stage::fencing;
        return otherwise;
    }
    stage_ = stage::ended;
    return {action::complete, {}};
}

} // namespace penstock::transfer
