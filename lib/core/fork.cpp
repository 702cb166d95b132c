#include <penstock/core/fork.hpp>

#include <sys/mman.h>
#include <unistd.h>

namespace penstock::core {
namespace {

const volatile unsigned char unwatched = 1;

} // namespace

std::atomic<const volatile unsigned char*> detail::owner_mark{&unwatched};

void watch_forks() noexcept
{
    // A page that the kernel gives to a child as zeros: vfork and clone are seen as well, which pthread_atfork would miss.
    [[maybe_unused]] static const bool once = [] {
        const auto bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
        void* const page = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED || ::madvise(page, bytes, MADV_WIPEONFORK) != 0) {
            return false; // Linux before 4.14: children are not told apart
        }
        *static_cast<unsigned char*>(page) = 1;
        detail::owner_mark.store(static_cast<const unsigned char*>(page), std::memory_order_release);
        return true;
    }();
}

} // namespace penstock::core
