#include <penstock/memory/buffer_pool.hpp>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <stdexcept>
#include <utility>

#include <sys/mman.h>
#include <unistd.h>

namespace penstock::memory {

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
        for (auto* domain : domains) {
            auto region
                = domain->register_memory(made->bytes_, fabric::access::local_write | fabric::access::window_bind);
            if (!region) {
                return region.error();
            }
            made->regions_.push_back(std::move(*region));
        }
        return made;
    }

    arena(const arena&) = delete;
    arena& operator=(const arena&) = delete;

    ~arena()
    {
        bool reachable = false;
        for (auto& region : regions_) {
            reachable = region->deregister().failed() || reachable;
        }
        // Memory that a peer may still reach is never given back.
        if (!reachable) {
            ::munmap(bytes_.data(), bytes_.size());
        }
    }

    std::span<std::byte> bytes() const noexcept { return bytes_; }
    fabric::memory_region* region(std::size_t index) const noexcept { return regions_[index].get(); }

private:
    explicit arena(std::span<std::byte> bytes) noexcept
        : bytes_(bytes)
    {}

    std::span<std::byte> bytes_;
    std::vector<std::unique_ptr<fabric::memory_region>> regions_;
};

buffer_slice buffer_slice::slice(std::size_t offset, std::size_t length) const
{
    if (offset > bytes_.size() || length > bytes_.size() - offset) {
        throw std::out_of_range("penstock: slice beyond its buffer");
    }
    return {bytes_.subspan(offset, length), home_};
}

fabric::memory_region* buffer_slice::region(std::size_t device_index) const noexcept
{
    return home_ == nullptr ? nullptr : home_->region(device_index);
}

fabric::local_segment buffer_slice::segment(std::size_t device_index) const noexcept
{
    if (home_ == nullptr) {
        return {};
    }
    return {bytes_.data(), static_cast<std::uint32_t>(bytes_.size()), home_->region(device_index)->lkey()};
}

buffer::buffer(buffer_pool* pool, std::span<std::byte> bytes, const arena* home) noexcept
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

namespace {

constexpr std::size_t slice_limit = std::size_t{1} << 31U; // a segment's length has 32 bits
constexpr std::size_t bytes_limit = std::size_t{1} << 47U; // an address space; rounding up cannot overflow

std::size_t round_up(std::size_t value, std::size_t unit)
{
    return (value + unit - 1) / unit * unit;
}

} // namespace

buffer_pool::buffer_pool(std::vector<fabric::protection_domain*> domains, const buffer_pool_options& options)
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

buffer_pool::~buffer_pool()
{
    assert(in_use_ == 0 && "a buffer outlives its pool");
}

result<buffer> buffer_pool::acquire()
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

buffer_pool_statistics buffer_pool::statistics() const noexcept
{
    return {in_use_, high_water_, arenas_.size() * options_.arena_bytes, options_.bytes_max};
}

error_code buffer_pool::add_arena()
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
        free_.push_back({bytes.data() + (offset - options_.slice_bytes), added->get()});
    }
    arenas_.push_back(std::move(*added));
    return {};
}

void buffer_pool::release(std::byte* data, const arena* home) noexcept
{
    --in_use_;
    free_.push_back({data, home}); // within the capacity reserved at the start
}

} // namespace penstock::memory
