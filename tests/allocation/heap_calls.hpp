#pragma once

#include <cstdint>

namespace penstock::test {

/// Calls of malloc, calloc, realloc, aligned_alloc, posix_memalign and memalign since the start, by any thread of the program: they
/// are interposed, so that operator new, Asio, the C++ and the C library are all counted. Freeing is not.
std::uint64_t heap_calls() noexcept;

} // namespace penstock::test
