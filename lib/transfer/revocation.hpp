#pragma once

// The revocation ladder (docs/release-contract.md) without any I/O: what to do next so that nobody can touch exposed memory.

#include <bitset>
#include <cstddef>
#include <cstdint>

namespace penstock::transfer {

/// A handle is one way for the peer to reach the memory: a window on a lane, or, where there are no windows, a region.
class revocation {
public:
    static constexpr std::size_t handles_max = 8;
    using handles = std::bitset<handles_max>;

    /// In all but these the owner keeps a timer: `revoke_grace` in `asking`, `invalidate_limit` in `invalidating`, `fence_limit` in
    /// `fencing`. It tells when one has passed.
    enum class stage : std::uint8_t {
        binding,      ///< no key has been given away
        open,         ///< the peer may reach the memory
        asking,       ///< revoke was sent; waiting for released
        invalidating, ///< at least one invalidation is posted
        fencing,      ///< waiting for lanes to be destroyed
        ended,
    };

    enum class action : std::uint8_t {
        none,
        announce,   ///< give the peer the keys of `which`
        ask_peer,   ///< send revoke
        invalidate, ///< post one invalidation for each of `which`: each once, none on a lane that is lost
        fail_lanes, ///< move the lanes of `which` to ERROR: they end with lane_fenced
        complete,   ///< nobody can touch the memory any more
        quarantine, ///< nothing has helped: the memory is never handed out again. Terminal, like complete
    };

    struct step {
        action what = action::none;
        handles which{};
        friend bool operator==(const step&, const step&) = default;
    };

    /// `wanted`: the handles whose binds are posted; at least one.
    explicit revocation(handles wanted) noexcept
        : binding_(wanted)
    {}

    step bound(std::size_t handle) noexcept;
    step bind_failed(std::size_t handle) noexcept;
    step revoke_asked() noexcept; ///< also while binding: then nothing is announced
    step abandoned() noexcept;    ///< the exposure was destroyed: no time for asking
    step released() noexcept;
    step time_passed() noexcept; ///< of the stage's timer
    step invalidated(std::size_t handle) noexcept;
    step invalidate_failed(std::size_t handle) noexcept;
    step lane_lost(std::size_t handle) noexcept;
    step lane_fenced(std::size_t handle) noexcept;

    stage now() const noexcept { return stage_; }
    handles reachable() const noexcept { return bound_; } ///< bound, on lanes that live

private:
    step all_bound() noexcept;
    step begin_invalidating() noexcept;
    step fail(handles which) noexcept;
    step after_change(step otherwise) noexcept;
    bool on_the_way_out() const noexcept { return stage_ == stage::invalidating || stage_ == stage::fencing; }

    // Each handle that is not fenced is in exactly one.
    handles binding_;
    handles bound_{};
    handles invalidating_{};
    handles dying_{}; // its lane is lost, or about to be
    stage stage_ = stage::binding;
    bool revoked_ = false;
};

} // namespace penstock::transfer
