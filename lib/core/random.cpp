#include <penstock/core/random.hpp>

#include <boost/endian/conversion.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <sys/random.h>

namespace penstock {
namespace {

class kernel_random_source final : public random_source {
public:
    std::uint64_t next() noexcept override
    {
        std::uint64_t value = 0;
        fill(std::as_writable_bytes(std::span(&value, 1)));
        return value;
    }

    void fill(std::span<std::byte> bytes) noexcept override
    {
        while (!bytes.empty()) {
            const auto got = ::getrandom(bytes.data(), bytes.size(), 0);
            if (got > 0) {
                bytes = bytes.subspan(static_cast<std::size_t>(got));
            } else if (errno != EINTR) {
                std::fputs("penstock: getrandom failed: no source of randomness on this machine\n", stderr);
                std::abort();
            }
        }
    }
};

// SplitMix64, the seeding that xoshiro's authors recommend: no seed leads to the all-zero state.
std::uint64_t split_mix(std::uint64_t& state) noexcept
{
    state += 0x9e3779b97f4a7c15;
    std::uint64_t mixed = state;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31);
}

} // namespace

random_source& system_random_source() noexcept
{
    static kernel_random_source& source = *new kernel_random_source;
    return source;
}

seeded_random_source::seeded_random_source(std::uint64_t seed) noexcept
    : state_{}
{
    for (auto& word : state_)
        word = split_mix(seed);
}

std::uint64_t seeded_random_source::next() noexcept
{
    const std::uint64_t value = std::rotl(state_[1] * 5, 7) * 9;
    const std::uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return value;
}

void seeded_random_source::fill(std::span<std::byte> bytes) noexcept
{
    while (!bytes.empty()) {
        const std::uint64_t word = boost::endian::native_to_little(next());
        const std::size_t count = std::min(bytes.size(), sizeof word);
        std::memcpy(bytes.data(), &word, count);
        bytes = bytes.subspan(count);
    }
}

std::uint64_t uniform_below(random_source& source, std::uint64_t bound) noexcept
{
    // Draws beyond the last whole multiple of `bound` are refused; fewer than one in two, whatever the bound.
    const std::uint64_t refused = (0 - bound) % bound;
    std::uint64_t draw = source.next();
    while (draw < refused)
        draw = source.next();
    return draw % bound;
}

} // namespace penstock
