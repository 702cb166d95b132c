#include "penstock/progress.hpp"

#include "support/catch.hpp"

#include <cstdio>
#include <limits>
#include <memory>
#include <string>

using namespace penstock::command;

namespace {

struct still_clock final : penstock::clock {
    penstock::time_point instant{};
    penstock::time_point now() noexcept override { return instant; }
};

// What was written to a stream.
class captured_stream {
public:
    captured_stream()
        : file_(::open_memstream(&text_, &size_))
    {
        REQUIRE(file_ != nullptr);
    }
    captured_stream(const captured_stream&) = delete;
    captured_stream& operator=(const captured_stream&) = delete;
    ~captured_stream()
    {
        std::fclose(file_);
        std::free(text_);
    }
    std::FILE* get() { return file_; }
    std::string text()
    {
        std::fflush(file_);
        return {text_, size_};
    }

private:
    char* text_ = nullptr;
    std::size_t size_ = 0;
    std::FILE* file_;
};

constexpr progress_counts half{3, 7, 512 << 20, 1 << 30};

} // namespace

TEST_CASE("time left")
{
    CHECK(format_time_left(0) == "0:00");
    CHECK(format_time_left(6.2) == "0:07");
    CHECK(format_time_left(750) == "12:30");
    CHECK(format_time_left(11'100) == "3:05:00");
    CHECK(format_time_left(-1) == "-:--");
    CHECK(format_time_left(std::numeric_limits<double>::infinity()) == "-:--");
    CHECK(format_time_left(std::numeric_limits<double>::quiet_NaN()) == "-:--");
    CHECK(format_time_left(1e300) == "-:--");
}

TEST_CASE("progress says bytes, rate, time left and files")
{
    CHECK(format_progress(half, 128 << 20) == " 50% 512MiB of 1GiB  134MB/s  0:04 left  3 of 7 files");
    CHECK(format_progress(half, 0) == " 50% 512MiB of 1GiB  0B/s  -:-- left  3 of 7 files");
    CHECK(format_progress({}, 0).substr(0, 4) == "100%");
    CHECK(format_progress({1, 4, 0, 0}, 0).substr(0, 4) == " 25%");
    CHECK(format_progress({1, 1, 12, 10}, 1).substr(0, 4) == "100%"); // a file grew
}

TEST_CASE("the bar keeps to the width")
{
    const auto wide = format_bar(half, 128 << 20, 200);
    CHECK(wide.substr(0, 33) == "[###############               ] ");
    for (std::size_t columns = 0; columns != 120; ++columns) {
        CHECK(format_bar(half, 128 << 20, columns).size() <= columns);
    }
    CHECK(format_bar(half, 128 << 20, 55)[0] == ' '); // no room for a bar
}

TEST_CASE("lines come at most every ten seconds")
{
    captured_stream out;
    still_clock time;
    progress_meter meter(out.get(), progress_meter::style::lines, time, "put");
    meter.counts = half;
    for (int i = 0; i != 99; ++i) {
        time.instant += std::chrono::milliseconds(100);
        meter.tick();
    }
    CHECK(out.text().empty());
    time.instant += std::chrono::milliseconds(100);
    meter.tick();
    meter.tick();
    const auto text = out.text();
    CHECK(text.substr(0, 9) == "put:  50%");
    CHECK(text.find('\n') == text.size() - 1);
}

TEST_CASE("a line is not mixed with the bar")
{
    captured_stream out;
    still_clock time;
    {
        progress_meter meter(out.get(), progress_meter::style::bar, time, "put");
        meter.counts = half;
        meter.tick();
        CHECK(out.text().empty());
        time.instant += std::chrono::milliseconds(200);
        meter.tick();
        meter.line("an error");
    }
    const auto text = out.text();
    const auto error = text.find("an error\n");
    REQUIRE(error != std::string::npos);
    CHECK(text.substr(0, 2) == "\r[");
    CHECK(text.substr(error - 4, 4) == "\r\x1b[K");
    CHECK(text.size() == error + 9); // the bar is gone already
}

TEST_CASE("a silent meter says only what it is told to")
{
    captured_stream out;
    still_clock time;
    progress_meter meter(out.get(), progress_meter::style::silent, time, "put");
    time.instant += std::chrono::seconds(60);
    meter.tick();
    CHECK(out.text().empty());
    meter.line("an error");
    CHECK(out.text() == "an error\n");
}
