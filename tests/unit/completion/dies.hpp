#pragma once

// Rules of ownership end the program: seen in a child of this one.

#include "support/catch.hpp"

#include <functional>
#include <string>

#include <csignal>
#include <sys/wait.h>
#include <unistd.h>

namespace penstock::test {

/// What `breach` wrote to standard error before it ended the child by SIGABRT; a failure if it did not. Not beside other threads.
inline std::string last_words(const std::function<void()>& breach)
{
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const auto child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        (void)::signal(SIGABRT, SIG_DFL); // Catch2 reports signals: in the child nobody asked it
        (void)::dup2(ends[1], STDERR_FILENO);
        ::close(ends[0]);
        [&]() noexcept { breach(); }();
        ::_exit(0);
    }
    ::close(ends[1]);
    std::string said;
    char buffer[256];
    for (ssize_t got = 0; (got = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
        said.append(buffer, static_cast<std::size_t>(got));
    }
    ::close(ends[0]);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGABRT);
    return said;
}

} // namespace penstock::test
