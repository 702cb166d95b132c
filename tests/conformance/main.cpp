// conformance --transport tcp|verbs [--address A] [--address-v6 A] [--list] [--here] [NAME...]
//
// Runs the cases whose name contains a NAME (all without one), each in a process of its own that may take
// `case_patience`: a case that crashes or hangs fails, and the next one runs. --here runs them in this process, for a
// debugger. Exits with the number of failures, at most 100.

#include "conformance/suite.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>

#include <sys/wait.h>
#include <unistd.h>

namespace penstock::conformance {

namespace {

constexpr unsigned case_patience = 60; // seconds

struct arguments {
    target on;
    bool list = false;
    bool here = false;
    std::vector<std::string_view> names;
};

[[noreturn]] void usage()
{
    std::fputs("usage: conformance --transport tcp|verbs [--address A] [--address-v6 A] [--list] [--here] "
               "[NAME...]\n",
        stderr);
    std::exit(125);
}

arguments parse(int count, char** values)
{
    arguments parsed;
    const char* address = std::getenv("PENSTOCK_ADDRESS");
    parsed.on.address = address == nullptr ? "127.0.0.1" : address;
    for (int i = 1; i < count; ++i) {
        const std::string_view argument = values[i];
        const auto value = [&]() -> std::string_view {
            if (++i == count)
                usage();
            return values[i];
        };
        if (argument == "--list") {
            parsed.list = true;
        } else if (argument == "--here") {
            parsed.here = true;
        } else if (argument == "--address") {
            parsed.on.address = value();
        } else if (argument == "--address-v6") {
            parsed.on.address_v6 = value();
        } else if (argument == "--transport") {
            const auto kind = value();
            if (kind != "tcp" && kind != "verbs")
                usage();
            parsed.on.kind = kind == "tcp" ? transport::tcp : transport::verbs;
        } else if (argument.starts_with("-")) {
            usage();
        } else {
            parsed.names.push_back(argument);
        }
    }
    if (parsed.on.address_v6.empty() && parsed.on.address.starts_with("127."))
        parsed.on.address_v6 = "::1";
    return parsed;
}

/// Empty: passed.
std::string run_here(const conformance_case& item, const target& on)
{
    try {
        item.run(on);
        return {};
    } catch (const std::exception& error) {
        return error.what();
    }
}

std::string ended(int status)
{
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGALRM ? "took longer than " + std::to_string(case_patience) + " s"
                                           : std::string("killed by ") + strsignal(WTERMSIG(status));
    return "ended with status " + std::to_string(WEXITSTATUS(status));
}

// The child writes its disappointment into a pipe. exit() and not _exit(): a leak is a failure too.
std::string run_apart(const conformance_case& item, const target& on)
{
    int ends[2] = {};
    if (pipe(ends) != 0)
        return std::string("pipe: ") + std::strerror(errno);
    const auto child = fork();
    if (child < 0)
        return std::string("fork: ") + std::strerror(errno);
    if (child == 0) {
        close(ends[0]);
        alarm(case_patience);
        const auto text = run_here(item, on);
        const auto written = ::write(ends[1], text.data(), text.size());
        std::exit(written == static_cast<ssize_t>(text.size()) ? 0 : 1);
    }
    close(ends[1]);
    std::string text;
    char piece[512];
    for (;;) {
        const auto count = ::read(ends[0], piece, sizeof piece);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            break;
        text.append(piece, static_cast<std::size_t>(count));
    }
    close(ends[0]);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    if (text.empty() && status != 0)
        text = ended(status);
    return text;
}

bool wanted(const conformance_case& item, const std::vector<std::string_view>& names)
{
    return names.empty() || std::any_of(names.begin(), names.end(), [&](std::string_view name) {
        return item.name().find(name) != std::string_view::npos;
    });
}

int run(const arguments& how)
{
    int passed = 0;
    std::vector<std::string> failures;
    for (const auto& item : all_cases()) {
        if (!wanted(item, how.names))
            continue;
        const std::string name(item.name());
        if (how.list) {
            std::printf("%s\n", name.c_str());
            continue;
        }
        std::fflush(nullptr);
        const auto begin = std::chrono::steady_clock::now();
        const auto text = how.here ? run_here(item, how.on) : run_apart(item, how.on);
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
        std::printf("%s %6.2f s  %s\n", text.empty() ? "ok  " : "FAIL", took.count(), name.c_str());
        if (text.empty()) {
            ++passed;
        } else {
            std::printf("     %s\n", text.c_str());
            failures.push_back(name);
        }
    }
    if (how.list)
        return 0;
    for (const auto& name : failures)
        std::printf("failed: %s\n", name.c_str());
    std::printf("%d passed, %zu failed\n", passed, failures.size());
    if (passed == 0 && failures.empty()) {
        std::fputs("no case has such a name\n", stderr);
        return 125;
    }
    return static_cast<int>(std::min<std::size_t>(failures.size(), 100));
}

} // namespace

void conformance_case::run(const target& on) const
{
    if (const auto* body = std::get_if<with_target>(&body_)) {
        (*body)(on);
        return;
    }
    world home(on);
    if (const auto* body = std::get_if<with_world>(&body_)) {
        (*body)(home);
        return;
    }
    linked ends(home);
    std::get<with_ends>(body_)(ends);
}

std::vector<conformance_case> all_cases()
{
    std::vector<conformance_case> all;
    for (const auto table :
        {send_cases(), one_sided_cases(), atomic_cases(), ordering_cases(), queue_cases(), completion_queue_cases(),
            access_cases(), window_cases(), revocation_cases(), receive_cases(), shared_receive_cases(), flush_cases(),
            connection_cases(), handshake_cases(), teardown_cases(), thread_cases(), mix_cases()})
        all.insert(all.end(), table.begin(), table.end());
    return all;
}

} // namespace penstock::conformance

int main(int count, char** values)
{
    std::signal(SIGPIPE, SIG_DFL);
    return penstock::conformance::run(penstock::conformance::parse(count, values));
}
