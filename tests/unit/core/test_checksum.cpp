#include <penstock/core/checksum.hpp>
#include <penstock/core/random.hpp>

#include "core/checksum_implementations.hpp"
#include "support/catch.hpp"

#include <cstring>
#include <string_view>
#include <thread>
#include <vector>

using namespace penstock;

namespace {

std::span<const std::byte> bytes_of(std::string_view text)
{
    return std::as_bytes(std::span(text.data(), text.size()));
}

std::vector<std::byte> random_bytes(std::size_t count, std::uint64_t seed)
{
    std::vector<std::byte> bytes(count);
    seeded_random_source(seed).fill(bytes);
    return bytes;
}

constexpr std::pair<const char*, detail::crc32c_function> implementations[] = {
    {"reference", detail::crc32c_reference},
    {"software", detail::crc32c_software},
    {"isa-l", detail::crc32c_isal},
    {"chosen", [](std::span<const std::byte> data, std::uint32_t seed) noexcept { return crc32c(data, seed); }},
};

// Moves on by what each call to the implementation is made to cost.
class stepped_clock final : public clock {
public:
    time_point now() noexcept override { return time_point(duration(nanoseconds)); }

    static inline std::int64_t nanoseconds = 0;
};

template <std::int64_t Cost>
std::uint32_t correct_at_cost(std::span<const std::byte> data, std::uint32_t seed) noexcept
{
    stepped_clock::nanoseconds += Cost;
    return detail::crc32c_reference(data, seed);
}

template <std::int64_t Cost>
std::uint32_t wrong_at_cost(std::span<const std::byte> data, std::uint32_t seed) noexcept
{
    return correct_at_cost<Cost>(data, seed) ^ 1;
}

} // namespace

TEST_CASE("the values of the standard", "[checksum]")
{
    // RFC 3720, appendix B.4.
    const std::vector<std::byte> zeros(32);
    const std::vector<std::byte> ones(32, std::byte{0xff});
    std::vector<std::byte> rising(32);
    for (std::size_t i = 0; i != rising.size(); ++i)
        rising[i] = static_cast<std::byte>(i);
    const std::vector<std::byte> falling(rising.rbegin(), rising.rend());
    for (const auto& [name, function] : implementations) {
        INFO(name);
        CHECK(function(bytes_of("123456789"), 0) == 0xe3069283);
        CHECK(function(zeros, 0) == 0x8a9136aa);
        CHECK(function(ones, 0) == 0x62a8ab43);
        CHECK(function(rising, 0) == 0x46dd794e);
        CHECK(function(falling, 0) == 0x113fdb5c);
        CHECK(function(bytes_of("a"), 0) == 0xc1d04330);
    }
}

TEST_CASE("nothing leaves the seed as it is", "[checksum]")
{
    for (const auto& [name, function] : implementations) {
        INFO(name);
        CHECK(function({}, 0) == 0);
        CHECK(function({}, 0x12345678) == 0x12345678);
    }
}

TEST_CASE("every implementation agrees at every length and alignment", "[checksum]")
{
    const auto data = random_bytes(4'096 + 64, 1);
    seeded_random_source source(2);
    for (std::size_t length = 0; length <= 300; ++length)
        for (std::size_t offset = 0; offset != 16; ++offset) {
            const auto piece = std::span(data).subspan(offset, length);
            const auto seed = static_cast<std::uint32_t>(source.next());
            const auto expected = detail::crc32c_reference(piece, seed);
            for (const auto& [name, function] : implementations)
                if (function(piece, seed) != expected)
                    FAIL(name << ": length " << length << ", offset " << offset);
        }
    for (const std::size_t length : {511u, 512u, 513u, 1'023u, 1'024u, 3'071u, 3'072u, 3'073u, 4'096u}) {
        const auto piece = std::span(data).subspan(3, length);
        const auto expected = detail::crc32c_reference(piece, 7);
        for (const auto& [name, function] : implementations) {
            INFO(name << ": length " << length);
            CHECK(function(piece, 7) == expected);
        }
    }
}

TEST_CASE("a checksum goes on from where another ended", "[checksum]")
{
    const auto data = random_bytes(1'000, 3);
    for (const auto& [name, function] : implementations) {
        const auto whole = function(data, 0);
        for (std::size_t cut = 0; cut <= data.size(); cut += 37) {
            INFO(name << " cut at " << cut);
            const auto all = std::span<const std::byte>(data);
            CHECK(function(all.subspan(cut), function(all.first(cut), 0)) == whole);
        }
    }
}

TEST_CASE("a flipped bit changes the checksum", "[checksum]")
{
    auto data = random_bytes(200, 4);
    const auto before = crc32c(data);
    for (std::size_t bit = 0; bit != data.size() * 8; ++bit) {
        const auto mask = static_cast<std::byte>(1 << (bit % 8));
        data[bit / 8] ^= mask;
        REQUIRE(crc32c(data) != before);
        data[bit / 8] ^= mask;
    }
}

TEST_CASE("checksums of two pieces combine to that of both", "[checksum]")
{
    const auto data = random_bytes(70'000, 5);
    const auto all = std::span<const std::byte>(data);
    for (const std::size_t total : {0u, 1u, 2u, 15u, 4'096u, 65'535u, 65'536u, 70'000u})
        for (std::size_t cut = 0; cut <= total; cut += total / 7 + 1) {
            const auto first = all.first(cut);
            const auto second = all.subspan(cut, total - cut);
            INFO(cut << " + " << second.size());
            CHECK(crc32c_combine(crc32c(first), crc32c(second), second.size()) == crc32c(all.first(total)));
        }
}

TEST_CASE("combining with nothing, on either side", "[checksum]")
{
    CHECK(crc32c_combine(0x12345678, 0, 0) == 0x12345678);
    CHECK(crc32c_combine(0, 0xe3069283, 9) == 0xe3069283);
}

TEST_CASE("combining is associative at lengths that cannot be tried", "[checksum]")
{
    seeded_random_source source(6);
    for (int i = 0; i != 1'000; ++i) {
        const auto a = static_cast<std::uint32_t>(source.next());
        const auto b = static_cast<std::uint32_t>(source.next());
        const auto c = static_cast<std::uint32_t>(source.next());
        const auto length_b = source.next() >> (1 + uniform_below(source, 63));
        const auto length_c = source.next() >> (1 + uniform_below(source, 63));
        REQUIRE(crc32c_combine(crc32c_combine(a, b, length_b), c, length_c)
            == crc32c_combine(a, crc32c_combine(b, c, length_c), length_b + length_c));
    }
    // The order of x is 2^31 - 1 times a factor: the same shift again after 2^31 - 1 bits' worth of bytes.
    CHECK(crc32c_combine(1, 0, (std::uint64_t{1} << 31) - 1) == 1);
    CHECK(crc32c_combine(1, 0, std::uint64_t{1} << 31) == crc32c_combine(1, 0, 1));
}

TEST_CASE("the faster of two correct implementations is taken", "[checksum]")
{
    stepped_clock time;
    const auto first = detail::choose_crc32c(time, {{{"a", correct_at_cost<100>}, {"b", correct_at_cost<200>}}});
    CHECK(first.report.name == "a");
    CHECK(first.function == &correct_at_cost<100>);
    CHECK(first.report.measured[0].bytes_per_second == Approx(2 * first.report.measured[1].bytes_per_second));
    CHECK(first.report.measured[0].correct);
    const auto second = detail::choose_crc32c(time, {{{"a", correct_at_cost<300>}, {"b", correct_at_cost<200>}}});
    CHECK(second.report.name == "b");
    CHECK(second.function == &correct_at_cost<200>);
}

TEST_CASE("a wrong implementation is never taken", "[checksum]")
{
    stepped_clock time;
    const auto choice = detail::choose_crc32c(time, {{{"a", wrong_at_cost<1>}, {"b", correct_at_cost<1'000>}}});
    CHECK(choice.report.name == "b");
    CHECK(choice.function == &correct_at_cost<1'000>);
    CHECK_FALSE(choice.report.measured[0].correct);
    const auto neither = detail::choose_crc32c(time, {{{"a", wrong_at_cost<1>}, {"b", wrong_at_cost<2>}}});
    CHECK(neither.report.name == "reference");
    CHECK(neither.function == &detail::crc32c_reference);
}

TEST_CASE("a clock that stands still does not divide by zero", "[checksum]")
{
    stepped_clock time;
    const auto choice = detail::choose_crc32c(time, {{{"a", correct_at_cost<0>}, {"b", correct_at_cost<0>}}});
    CHECK(choice.report.name == "a");
    CHECK(choice.report.measured[0].bytes_per_second > 0);
    CHECK(choice.report.measured[0].bytes_per_second < 1e15);
}

TEST_CASE("the report names what is used, the same on every thread", "[checksum]")
{
    std::vector<const crc32c_report*> seen(8);
    std::vector<std::thread> threads;
    for (auto& report : seen)
        threads.emplace_back([&report] { report = &crc32c_implementation(); });
    for (auto& thread : threads)
        thread.join();
    for (const auto* report : seen)
        CHECK(report == seen.front());
    const auto& report = *seen.front();
    CHECK((report.name == "isa-l" || report.name == "software"));
    CHECK_FALSE(report.reason.empty());
    CHECK(report.measured[0].name == "isa-l");
    CHECK(report.measured[1].name == "software");
    for (const auto& measured : report.measured) {
        CHECK(measured.correct);
        CHECK(measured.bytes_per_second > 0);
    }
}
