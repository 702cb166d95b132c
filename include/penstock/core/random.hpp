#pragma once

// The randomness seam: everything above core draws from a `random_source`, so that a simulator's run follows from its seed.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace penstock {

/// A source of random bits.
class random_source {
public:
    random_source() = default;
    random_source(const random_source&) = delete;
    random_source& operator=(const random_source&) = delete;
    virtual ~random_source() = default;

    /// 64 bits, uniformly distributed.
    virtual std::uint64_t next() noexcept = 0;

    /// Overwrites every byte of `bytes`.
    virtual void fill(std::span<std::byte> bytes) noexcept = 0;
};

/// The operating system's generator: fit for keys and nonces, safe after fork().
///
/// Ends the process if the kernel has no generator: there is no weaker substitute to go on with.
/// *Lifetime.* One object for the whole process; it is never destroyed.
/// *Threads.* Any.
/// *Cost.* A system call per draw, about a microsecond. Jitter and sampling use a `seeded_random_source` seeded from it.
random_source& system_random_source() noexcept;

/// xoshiro256**: a fast sequence that follows from its seed alone, the same on every machine. Not for keys or nonces.
///
/// *Threads.* One at a time.
class seeded_random_source final : public random_source {
public:
    explicit seeded_random_source(std::uint64_t seed) noexcept;

    std::uint64_t next() noexcept override;

    /// Takes the bytes of successive `next()`, lowest first; what is left of the last one is thrown away.
    void fill(std::span<std::byte> bytes) noexcept override;

private:
    std::array<std::uint64_t, 4> state_;
};

/// A number in [0, bound), every one equally likely. `bound` must not be 0.
std::uint64_t uniform_below(random_source& source, std::uint64_t bound) noexcept;

} // namespace penstock
