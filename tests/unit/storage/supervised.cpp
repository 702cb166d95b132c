#include "supervised.hpp"

#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <future>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdexcept>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace penstock::storage::test {
namespace {

// The listener's descriptor. For the calling thread only, until it ends.
int install(std::span<const int> numbers)
{
    std::vector<sock_filter> program;
    program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
    for (const int number : numbers) {
        program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(number), 0, 1));
        program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF));
    }
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    return static_cast<int>(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter));
}

std::string file_of(std::uint64_t descriptor)
{
    const auto entry = "/proc/self/fd/" + std::to_string(static_cast<int>(descriptor));
    char target[PATH_MAX];
    const auto length = ::readlink(entry.c_str(), target, sizeof target);
    return length < 0 ? std::string() : std::string(target, static_cast<std::size_t>(length));
}

void answer_one(int listener, const decision& decide)
{
    seccomp_notif asked{};
    if (::ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) != 0)
        throw std::runtime_error("no notification");
    seccomp_notif_resp answer{};
    answer.id = asked.id;
    // Whatever happens here, the thread must be let go, or it could not be joined.
    std::exception_ptr failure;
    try {
        const int error = decide({asked.data.nr, file_of(asked.data.args[0])});
        answer.error = -error;
        answer.flags = error == 0 ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0;
    } catch (...) {
        failure = std::current_exception();
        answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    }
    if (::ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) != 0)
        throw std::runtime_error("no answer possible");
    if (failure)
        std::rethrow_exception(failure);
}

} // namespace

void supervised(std::span<const int> numbers, const decision& decide, const std::function<void()>& operation)
{
    std::promise<int> installed;
    std::exception_ptr failure;
    std::thread worker([&] {
        const int fd = install(numbers);
        installed.set_value(fd);
        if (fd < 0)
            return;
        try {
            operation();
        } catch (...) {
            failure = std::current_exception();
        }
    });
    const int listener = installed.get_future().get();
    std::exception_ptr undecided;
    while (listener >= 0) {
        pollfd ready{listener, POLLIN, 0};
        if (::poll(&ready, 1, -1) < 0 && errno != EINTR)
            break;
        if ((ready.revents & POLLIN) == 0) // the last supervised thread is gone
            break;
        try {
            answer_one(listener, decide);
        } catch (...) {
            undecided = std::current_exception();
        }
    }
    worker.join();
    if (listener < 0)
        throw std::runtime_error("the kernel does not let this process supervise system calls (seccomp)");
    ::close(listener);
    for (const auto& each : {failure, undecided})
        if (each)
            std::rethrow_exception(each);
}

} // namespace penstock::storage::test
