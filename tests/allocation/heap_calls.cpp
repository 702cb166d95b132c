#include "allocation/heap_calls.hpp"

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>

// What glibc's own functions are called under other names. The program's definitions come before those of the C library,
// for everything that is linked to it.
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);
}

namespace {
std::atomic<std::uint64_t> counted{0};

void count() noexcept
{
    counted.fetch_add(1, std::memory_order_relaxed);
}
} // namespace

namespace penstock::test {
std::uint64_t heap_calls() noexcept
{
    return counted.load(std::memory_order_relaxed);
}
} // namespace penstock::test

extern "C" {

void* malloc(std::size_t size) noexcept
{
    count();
    return __libc_malloc(size);
}

void* calloc(std::size_t number, std::size_t size) noexcept
{
    count();
    return __libc_calloc(number, size);
}

void* realloc(void* memory, std::size_t size) noexcept
{
    count();
    return __libc_realloc(memory, size);
}

void* memalign(std::size_t alignment, std::size_t size) noexcept
{
    count();
    return __libc_memalign(alignment, size);
}

void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept
{
    count();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void** memory, std::size_t alignment, std::size_t size) noexcept
{
    count();
    if (alignment == 0 || alignment % sizeof(void*) != 0 || (alignment & (alignment - 1)) != 0) {
        return EINVAL;
    }
    *memory = __libc_memalign(alignment, size);
    return *memory == nullptr ? ENOMEM : 0;
}
}
