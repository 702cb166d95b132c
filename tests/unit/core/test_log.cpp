#include <penstock/core/log.hpp>
#include <penstock/core/log_spdlog.hpp>

#include "support/catch.hpp"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <thread>
#include <vector>

using namespace penstock;

namespace {

class recording_sink final : public log_sink {
public:
    void write(const log_record& record) noexcept override
    {
        lines.push_back(std::string(to_string(record.level)) + "|" + std::string(record.component) + "|"
            + std::string(record.message));
    }

    std::vector<std::string> lines;
};

// A directory of its own, gone with the test.
struct temporary_directory {
    temporary_directory()
    {
        auto name = (std::filesystem::temp_directory_path() / "penstock-log-XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        path = name;
    }

    ~temporary_directory() { std::filesystem::remove_all(path); }

    std::filesystem::path path;
};

std::vector<std::string> lines_of(const std::filesystem::path& path)
{
    std::ifstream file(path);
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);)
        lines.push_back(line);
    return lines;
}

} // namespace

TEST_CASE("a logger without a sink drops everything", "[log]")
{
    const logger log;
    CHECK_FALSE(log.enabled(log_level::error));
    log.error("nobody hears this");
    CHECK_FALSE(log.for_component("x").enabled(log_level::error));
}

TEST_CASE("records at or above the threshold reach the sink", "[log]")
{
    recording_sink sink;
    const logger log(sink, log_level::info, "fabric.tcp");
    log.trace("a");
    log.debug("b");
    log.info("c");
    log.warning("d");
    log.for_component("connection").error("e");
    log.write(log_level::off, "f");
    CHECK(sink.lines == std::vector<std::string>{"info|fabric.tcp|c", "warning|fabric.tcp|d", "error|connection|e"});
    CHECK(log.enabled(log_level::info));
    CHECK_FALSE(log.enabled(log_level::debug));
    CHECK_FALSE(log.enabled(log_level::off));
}

TEST_CASE("a record says what it is about, as far as that is known", "[log]")
{
    log_record record{log_level::info, "connection", "lost", {}};
    CHECK(to_string(record) == "lost");
    record.about.lane = 0;
    CHECK(to_string(record) == "lost (lane 0)");
    record.about = {"10.99.0.2:7471", 1, 17, 2};
    CHECK(to_string(record) == "lost (peer 10.99.0.2:7471, lane 1, queue pair 17, epoch 2)");
}

TEST_CASE("a threshold of off silences a logger, trace opens it", "[log]")
{
    recording_sink sink;
    logger(sink, log_level::off).error("a");
    CHECK(sink.lines.empty());
    logger(sink, log_level::trace).trace("b");
    CHECK(sink.lines == std::vector<std::string>{"trace||b"});
}

TEST_CASE("the spdlog sink writes whole lines to its file and appends", "[log]")
{
    const temporary_directory directory;
    const auto path = directory.path / "penstock.log";
    const std::string stamp = R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6} )";
    {
        const auto sink = make_spdlog_sink({path.string()}).value();
        const logger log(*sink, log_level::trace, "connection");
        log.warning("lost {} %v \"quoted\"");
        REQUIRE(lines_of(path).size() == 1); // flushed at once
        log.for_component({}).trace("plain", {"[::1]:7471", 0, 0, 0});
    }
    {
        const auto sink = make_spdlog_sink({path.string()}).value();
        logger(*sink).error("again");
    }
    const auto lines = lines_of(path);
    REQUIRE(lines.size() == 3);
    CHECK(std::regex_match(lines[0], std::regex(stamp + R"(warning \[connection\] lost \{\} %v "quoted")")));
    CHECK(std::regex_match(lines[1], std::regex(stamp + R"(trace plain \(peer \[::1\]:7471, lane 0\))")));
    CHECK(std::regex_match(lines[2], std::regex(stamp + "error again")));
}

TEST_CASE("the spdlog sink does not mix lines of several threads", "[log]")
{
    constexpr std::size_t threads_count = 4;
    constexpr std::size_t lines_each = 200;
    const temporary_directory directory;
    const auto path = directory.path / "penstock.log";
    const auto sink = make_spdlog_sink({path.string()}).value();
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t != threads_count; ++t)
        threads.emplace_back([&sink, t] {
            const logger log(*sink);
            for (std::size_t i = 0; i != lines_each; ++i)
                log.info(std::string(100, static_cast<char>('a' + t)));
        });
    for (auto& thread : threads)
        thread.join();
    const auto lines = lines_of(path);
    REQUIRE(lines.size() == threads_count * lines_each);
    std::array<std::size_t, threads_count> seen{};
    for (const auto& line : lines) {
        REQUIRE(line.size() > 100);
        const auto message = line.substr(line.size() - 100);
        REQUIRE(message == std::string(100, message[0]));
        ++seen.at(static_cast<std::size_t>(message[0] - 'a'));
    }
    for (const auto count : seen)
        CHECK(count == lines_each);
}

TEST_CASE("a log file that cannot be opened is a system error", "[log]")
{
    const temporary_directory directory;
    const auto missing = make_spdlog_sink({(directory.path / "no" / "such" / "file").string()});
    REQUIRE(missing.has_error());
    CHECK(missing.error() == make_system_error(ENOENT));
    const auto is_directory = make_spdlog_sink({directory.path.string()});
    REQUIRE(is_directory.has_error());
    CHECK(is_directory.error() == make_system_error(EISDIR));
}

TEST_CASE("the spdlog sink on standard error can be made and written to", "[log]")
{
    const auto sink = make_spdlog_sink();
    REQUIRE(sink.has_value());
    logger(**sink).info("one line on standard error");
}
