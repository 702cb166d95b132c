#pragma once

// fork(): devices, connections and registrations belong to the process that made them.

#include <atomic>

namespace penstock::core {

namespace detail {
/// One byte that is 1 in the process that initialised the library and 0 in its children.
extern std::atomic<const volatile unsigned char*> owner_mark;
} // namespace detail

/// Whether this process is a child, by fork(), of one that used the library: then every call returns errc::forked, and
/// destructors close descriptors and free memory but tell neither peers nor devices. A program that forks before its first use of the
/// library may use it in the child.
///
/// Two loads. *Threads.* Any.
inline bool forked() noexcept
{
    return *detail::owner_mark.load(std::memory_order_relaxed) == 0;
}

/// From now on children are told apart. Called by whatever opens something: a provider. *Threads.* Any.
void watch_forks() noexcept;

} // namespace penstock::core
