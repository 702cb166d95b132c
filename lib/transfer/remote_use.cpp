#include <penstock/transfer/remote_use.hpp>

#include <algorithm>
#include <bit>
#include <cassert>
#include <utility>

namespace penstock::transfer {

remote_use::remote_use(const remote_use_options& options)
    : in_use_max_(std::max(options.in_use_max, 1U))
    , revoked_(std::max(options.revoked_remembered, 1U))
{
    table_.resize(std::bit_ceil(2 * (std::size_t{in_use_max_} + revoked_.size())));
    shift_ = 64U - static_cast<unsigned>(std::countr_zero(table_.size()));
}

// Ids come from the peer, who may choose them to collide: a probe is then as long as the table's half, which is bounded.
std::size_t remote_use::home_of(std::uint64_t id) const noexcept
{
    constexpr std::uint64_t golden = 0x9e37'79b9'7f4a'7c15U; // Fibonacci hashing: 2^64 by the golden ratio
    return static_cast<std::size_t>((id * golden) >> shift_);
}

std::size_t remote_use::find(std::uint64_t id) const noexcept
{
    std::size_t place = home_of(id);
    while (table_[place].taken() && table_[place].id != id) {
        place = (place + 1) & (table_.size() - 1);
    }
    return place;
}

error_code remote_use::begin(std::uint64_t id) noexcept
{
    entry& found = table_[find(id)];
    if (found.revoked) {
        return errc::exposure_revoked;
    }
    if (found.users == 0) {
        if (in_use_ == in_use_max_) {
            return errc::send_queue_full;
        }
        ++in_use_;
        found.id = id;
    }
    ++found.users;
    return {};
}

bool remote_use::end(std::uint64_t id) noexcept
{
    const auto place = find(id);
    entry& found = table_[place];
    assert(found.users != 0 && "end() without begin()");
    if (--found.users != 0) {
        return false;
    }
    --in_use_;
    if (!found.revoked) {
        erase(place);
        return false;
    }
    remember(id);
    return true;
}

bool remote_use::revoke(std::uint64_t id) noexcept
{
    if (id == 0) {
        return false; // names nothing
    }
    entry& found = table_[find(id)];
    const bool used = found.users != 0;
    if (!found.revoked) {
        found.id = id;
        found.revoked = true;
        if (!used) {
            remember(id);
        }
    }
    return !used;
}

// A hole would end the probes of those that were placed beyond it: they move up.
void remote_use::erase(std::size_t place) noexcept
{
    const std::size_t mask = table_.size() - 1;
    std::size_t hole = place;
    for (std::size_t next = (hole + 1) & mask; table_[next].taken(); next = (next + 1) & mask) {
        const std::size_t wanted = home_of(table_[next].id);
        if (((next - wanted) & mask) >= ((next - hole) & mask)) {
            table_[hole] = table_[next];
            hole = next;
        }
    }
    table_[hole] = {};
}

void remote_use::remember(std::uint64_t id) noexcept
{
    auto& oldest = revoked_[next_];
    next_ = (next_ + 1) % revoked_.size();
    const auto forgotten = std::exchange(oldest, id);
    if (forgotten != 0) {
        erase(find(forgotten));
    }
}

} // namespace penstock::transfer
