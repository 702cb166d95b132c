#include <penstock/memory/memory_pool.hpp>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <utility>

#include <sys/mman.h>
#include <unistd.h>

namespace penstock::memory {
namespace {

constexpr std::size_t slice_limit = std::size_t{1} << 31U; // a segment's length has 32 bits
constexpr std::size_t bytes_limit = std::size_t{1} << 47U; // an address space; rounding up cannot overflow

std::size_t round_up(std::size_t value, std::size_t unit)
{
    return (value + unit - 1) / unit * unit;
}

} // namespace

/// Anonymous memory with one registration for each device.
class arena {
public:
    static result<std::unique_ptr<arena>> create(std::size_t bytes, std::span<fabric::protection_domain* const> domains)
    {
        void* const address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (address == MAP_FAILED) {
            return make_error_code(errc::no_memory);
        }
        // A hint: without huge pages everything still works.
        (void)::madvise(address, bytes, MADV_HUGEPAGE);
        auto made = std::unique_ptr<arena>(new arena({static_cast<std::byte*>(address), bytes}));
        auto range = registered_range::create(made->bytes_, domains, bytes_limit);
        if (!range) {
            return range.error();
        }
        made->range_ = std::move(*range);
        return made;
    }

    arena(const arena&) = delete;
    arena& operator=(const arena&) = delete;

    ~arena()
    {
        // Memory that a peer may still reach is never given back.
        if (range_ == nullptr || !range_->deregister().failed()) {
            ::munmap(bytes_.data(), bytes_.size());
        }
    }

    std::span<std::byte> bytes() const noexcept { return bytes_; }
    const registered_range& range() const noexcept { return *range_; }

private:
    explicit arena(std::span<std::byte> bytes) noexcept
        : bytes_(bytes)
    {}

    std::span<std::byte> bytes_;
    std::unique_ptr<registered_range> range_;
};

buffer::buffer(memory_pool* pool, std::span<std::byte> bytes, const registered_range* home) noexcept
    : pool_(pool)
    , bytes_(bytes)
    , home_(home)
{}

buffer::buffer(buffer&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr))
    , bytes_(std::exchange(other.bytes_, {}))
    , home_(std::exchange(other.home_, nullptr))
{}

buffer& buffer::operator=(buffer&& other) noexcept
{
    std::swap(pool_, other.pool_);
    std::swap(bytes_, other.bytes_);
    std::swap(home_, other.home_);
    return *this;
}

buffer::~buffer()
{
    if (pool_ != nullptr) {
        pool_->release(bytes_.data(), home_);
    }
}

memory_pool::memory_pool(std::vector<fabric::protection_domain*> domains, const memory_pool_options& options)
    : domains_(std::move(domains))
    , options_(options)
{
    if (options_.slice_bytes > slice_limit || options_.arena_bytes > bytes_limit || options_.bytes_max > bytes_limit) {
        throw system_error(make_error_code(errc::invalid_argument), "buffer pool options");
    }
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    options_.slice_bytes = round_up(std::max<std::size_t>(options_.slice_bytes, 1), page);
    options_.arena_bytes = round_up(std::max(options_.arena_bytes, options_.slice_bytes), options_.slice_bytes);
    const auto arenas = std::max<std::size_t>(options_.bytes_max / options_.arena_bytes, 1);
    options_.bytes_max = arenas * options_.arena_bytes;
    arenas_.reserve(arenas);
    free_.reserve(options_.bytes_max / options_.slice_bytes);
}

memory_pool::~memory_pool()
{
    assert(in_use_ == 0 && "a buffer outlives its pool");
}

result<buffer> memory_pool::acquire()
{
    if (free_.empty()) {
        if (const auto error = add_arena(); error.failed()) {
            return error;
        }
    }
    const auto slice = free_.back();
    free_.pop_back();
    high_water_ = std::max(high_water_, ++in_use_);
    return buffer(this, {slice.data, options_.slice_bytes}, slice.home);
}

memory_pool_statistics memory_pool::statistics() const noexcept
{
    return {in_use_, high_water_, arenas_.size() * options_.arena_bytes, options_.bytes_max};
}

error_code memory_pool::add_arena()
{
    if ((arenas_.size() + 1) * options_.arena_bytes > options_.bytes_max) {
        return errc::pool_exhausted;
    }
    auto added = arena::create(options_.arena_bytes, domains_);
    if (!added) {
        return added.error();
    }
    const auto bytes = (*added)->bytes();
    for (std::size_t offset = bytes.size(); offset != 0; offset -= options_.slice_bytes) {
        free_.push_back({bytes.data() + (offset - options_.slice_bytes), &(*added)->range()});
    }
    arenas_.push_back(std::move(*added));
    return {};
}

void memory_pool::release(std::byte* data, const registered_range* home) noexcept
{
    --in_use_;
    free_.push_back({data, home}); // within the capacity reserved at the start
}

} // namespace penstock::memory
