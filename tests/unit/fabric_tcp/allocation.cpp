#include "unit/fabric_tcp/allocation.hpp"

#include <cstdlib>
#include <new>

namespace {
thread_local std::uint64_t counted = 0;

void* take(std::size_t size)
{
    ++counted;
    if (void* memory = std::malloc(size == 0 ? 1 : size))
        return memory;
    throw std::bad_alloc();
}
} // namespace

namespace penstock::test {
std::uint64_t allocations() noexcept
{
    return counted;
}
} // namespace penstock::test

void* operator new(std::size_t size)
{
    return take(size);
}
void* operator new[](std::size_t size)
{
    return take(size);
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept
{
    ++counted;
    return std::malloc(size == 0 ? 1 : size);
}
void* operator new[](std::size_t size, const std::nothrow_t& how) noexcept
{
    return operator new(size, how);
}
void operator delete(void* memory) noexcept
{
    std::free(memory);
}
void operator delete[](void* memory) noexcept
{
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept
{
    std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept
{
    std::free(memory);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept
{
    std::free(memory);
}
void operator delete[](void* memory, const std::nothrow_t&) noexcept
{
    std::free(memory);
}
