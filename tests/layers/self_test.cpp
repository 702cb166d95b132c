#include "scan.hpp"

#include <cstdlib>
#include <fstream>
#include <iostream>

namespace layers {
namespace {

namespace fs = std::filesystem;

// One file, and what must be said about it: part of the only violation, or nothing at all.
struct fixture {
    std::string path;
    std::string text;
    std::string expected;
};

std::string lines(std::size_t count)
{
    std::string text;
    for (std::size_t i = 0; i != count; ++i)
        text += "//\n";
    return text;
}

std::vector<fixture> refused_includes()
{
    return {
        {"include/penstock/core/a.hpp", "#include <penstock/fabric/device.hpp>",
            "a.hpp:1: upward include: core includes fabric"},
        {"lib/core/a.cpp", "\n#include \"storage/x.hpp\"", "a.cpp:2: upward include: core includes storage"},
        {"lib/fabric/a.cpp", "#include <penstock/memory/pool.hpp>", "fabric includes memory"},
        {"lib/memory/a.cpp", "# include <penstock/completion/poller.hpp>", "memory includes completion"},
        {"lib/completion/a.cpp", "#include <penstock/connection/lane.hpp>", "completion includes connection"},
        {"lib/connection/a.cpp", "#include \"penstock/transfer/read.hpp\"", "connection includes transfer"},
        {"lib/transfer/a.cpp", "#include <penstock/rpc/client.hpp>", "transfer includes rpc"},
        {"lib/rpc/a.cpp", "#include \"../storage/x.hpp\"", "rpc includes storage"},
        {"lib/rpc/a.cpp", "/* x */ #include <penstock/storage/x.hpp>", "rpc includes storage"},
        {"lib/rpc/a.cpp", "#include <penstock/penstock.hpp>", "belongs to no layer"},
        {"lib/strange/a.cpp", "", "belongs to no layer"},
        {"lib/fabric/tcp/a.cpp", "#include \"fabric/verbs/x.hpp\"", "provider tcp includes provider verbs"},
        {"lib/fabric/verbs/a.cpp", "#include \"../tcp/x.hpp\"", "provider verbs includes provider tcp"},
        {"lib/fabric/verbs/a.cpp", "#include <penstock/fabric/tcp.hpp>", "provider verbs includes provider tcp"},
        {"lib/fabric/sim/a.cpp", "#include \"fabric/tcp/x.hpp\"", "provider sim includes provider tcp"},
        {"lib/fabric/a.cpp", "#include \"tcp/x.hpp\"", "the seam includes provider tcp"},
        {"include/penstock/fabric/a.hpp", "#include <penstock/fabric/verbs.hpp>", "the seam includes provider verbs"},
        {"lib/fabric/tcp/a.cpp", "#include <penstock/completion/x.hpp>", "fabric includes completion"},
        {"lib/memory/a.cpp", "#include <infiniband/verbs.h>", "only lib/fabric/verbs"},
        {"lib/fabric/tcp/a.cpp", "#include <rdma/rdma_cma.h>", "only lib/fabric/verbs"},
        {"tools/penstock/a.cpp", "#include <infiniband/verbs.h>", "only lib/fabric/verbs"},
        {"include/penstock/core/a.hpp", "#include <spdlog/spdlog.h>", "not in a public header"},
        {"include/penstock/core/a.hpp", "#include <fmt/format.h>", "not in a public header"},
        {"include/penstock/core/a.hpp", "#include <isa-l/crc.h>", "not in a public header"},
        {"lib/core/a.cpp", "#include <boost/asio.hpp>", "the parts of Asio"},
        {"tools/penstock/a.cpp", "#include \"boost/asio.hpp\"", "the parts of Asio"},
        {"lib/connection/a.cpp", "#include <boost/asio/steady_timer.hpp>", "only the completion poller"},
    };
}

std::vector<fixture> refused_words()
{
    return {
        {"lib/rpc/a.cpp", "auto t = std::chrono::steady_clock::now();", "a.cpp:1: std::chrono::steady_clock"},
        {"lib/completion/a.cpp", "auto t = std::chrono::system_clock :: now();", "system_clock"},
        {"lib/core/log.cpp", "auto t = high_resolution_clock::\n  now();", "high_resolution_clock"},
        {"tools/penstock/a.cpp", "using c = std::chrono::steady_clock;", "steady_clock"},
        {"include/penstock/core/clock.hpp", "inline auto t() { return std::chrono::steady_clock::now(); }",
            "steady_clock"},
        {"lib/core/a.cpp", "\"\\\"\"; /* \n */ clock_gettime(CLOCK_MONOTONIC, &t);", "a.cpp:2: clock_gettime"},
        {"lib/core/a.cpp", "gettimeofday(&t, nullptr);", "gettimeofday"},
        {"lib/rpc/a.cpp", "std::this_thread::sleep_for(x);", "sleep_for"},
        {"lib/rpc/a.cpp", "std::this_thread::sleep_until(x);", "sleep_until"},
        {"lib/rpc/a.cpp", "#define WAIT sleep (1)", "sleep"},
        {"lib/rpc/a.cpp", "::usleep(1);", "usleep"},
        {"lib/rpc/a.cpp", "nanosleep(&t, nullptr);", "nanosleep"},
        {"lib/rpc/a.cpp", "clock_nanosleep(CLOCK_MONOTONIC, 0, &t, nullptr);", "clock_nanosleep"},
        {"include/penstock/rpc/a.hpp", "boost::asio::steady_timer timer_;", "steady_timer"},
        {"lib/rpc/a.cpp", "boost::asio::basic_waitable_timer<clk> timer_;", "basic_waitable_timer"},
        {"lib/core/a.cpp", "std::random_device device;", "random_device"},
        {"lib/completion/a.cpp", "std::random_device device;", "random_device"},
        {"lib/core/a.cpp", "getrandom(p, n, 0);", "getrandom"},
        {"lib/core/a.cpp", "int x = 1'000; rand();", "rand"},
        {"lib/core/a.cpp", "auto s = R\"x(\" )\" )x\"; std::srand(1);", "srand"},
    };
}

std::vector<fixture> refused_lengths()
{
    return {
        {"include/penstock/core/a.hpp", lines(401), "longer than 400"},
        {"lib/core/a.cpp", lines(501), "longer than 500"},
        {"tests/unit/core/a.cpp", lines(501), "longer than 500"},
        {"examples/01_a/main.cpp", lines(501), "longer than 500"},
    };
}

std::vector<fixture> accepted()
{
    return {
        {"include/penstock/core/a.hpp", lines(400), ""},
        {"lib/core/a.cpp", lines(500), ""},
        {"lib/storage/a.cpp", "#include <penstock/core/a.hpp>\n#include \"storage/b.hpp\"\n#include \"b.hpp\"", ""},
        {"lib/memory/a.cpp", "#include <penstock/fabric/device.hpp>\n#include <memory>", ""},
        {"lib/fabric/tcp/a.cpp",
            "#include \"fabric/tcp/b.hpp\"\n#include <penstock/fabric/tcp.hpp>\n#include \"b.hpp\"", ""},
        {"lib/fabric/verbs/a.cpp", "#include <infiniband/verbs.h>\n#include <rdma/rdma_cma.h>", ""},
        {"lib/connection/a.cpp", "#include <penstock/fabric/tcp.hpp>\n#include <penstock/fabric/verbs.hpp>", ""},
        {"include/penstock/penstock.hpp", "#include <penstock/rpc/client.hpp>", ""},
        {"tools/penstock/a.cpp",
            "#include <penstock/storage/client.hpp>\n#include <CLI/CLI.hpp>\n#include <fmt/core.h>", ""},
        {"lib/core/a.cpp", "#include <spdlog/spdlog.h>\n#include <fmt/core.h>\n#include <isa-l/crc.h>", ""},
        {"lib/core/clock.cpp", "auto t = std::chrono::steady_clock::now();", ""},
        {"lib/core/random.cpp", "std::random_device d; getrandom(p, n, 0);", ""},
        {"lib/completion/a.cpp",
            "#include <boost/asio/steady_timer.hpp>\nboost::asio::steady_timer t; nanosleep(a, b);", ""},
        {"lib/rpc/a.cpp",
            "// steady_clock::now(), sleep(1)\n/* rand() */ auto s = \"rand()\"; auto r = R\"(sleep(1))\";", ""},
        {"lib/rpc/a.cpp", "auto r = R\"(\" sleep(1) \")\";", ""},
        {"lib/rpc/a.cpp", "// #include <penstock/storage/a.hpp>\n/*\n#include <penstock/storage/a.hpp>\n*/", ""},
        {"lib/rpc/a.cpp", "time_point my_clock::now() noexcept { return clock_->now(); } int operand(int sleep);", ""},
        {"lib/rpc/a.cpp", "duration to(std::chrono::steady_clock::time_point t);", ""},
        {"tests/unit/core/a.cpp", "auto t = std::chrono::steady_clock::now();", ""},
    };
}

bool passes(const fs::path& root, const fixture& one)
{
    fs::remove_all(root);
    fs::create_directories((root / one.path).parent_path());
    std::ofstream(root / one.path, std::ios::binary) << one.text;
    const auto report = check_tree(root);
    const bool found_file = report.file_count == 1;
    const bool as_expected = one.expected.empty()
        ? report.violations.empty()
        : report.violations.size() == 1 && report.violations[0].find(one.expected) != std::string::npos;
    if (found_file && as_expected)
        return true;
    std::cerr << one.path << ": " << one.text.substr(0, 200)
              << "\n  expected: " << (one.expected.empty() ? "no violation" : one.expected) << '\n';
    for (const auto& violation : report.violations)
        std::cerr << "  reported: " << violation << '\n';
    return false;
}

} // namespace

bool self_test()
{
    auto name = (fs::temp_directory_path() / "penstock-layers-XXXXXX").string();
    if (!::mkdtemp(name.data())) {
        std::cerr << "cannot make a directory in " << fs::temp_directory_path() << '\n';
        return false;
    }
    std::size_t failed = 0;
    std::size_t count = 0;
    for (const auto& group : {refused_includes(), refused_words(), refused_lengths(), accepted()})
        for (const auto& one : group) {
            ++count;
            failed += !passes(fs::path(name) / "tree", one);
        }
    // Nothing there must not pass for clean: the caller sees the count.
    fs::create_directories(fs::path(name) / "empty");
    ++count;
    failed += check_tree(fs::path(name) / "empty").file_count != 0;
    fs::remove_all(name);
    std::cout << count << " cases, " << failed << " failed\n";
    return failed == 0;
}

} // namespace layers
