#include <penstock/core/byte_size.hpp>
#include <penstock/core/random.hpp>

#include "support/catch.hpp"

#include <limits>

using namespace penstock;

TEST_CASE("sizes are read", "[byte_size]")
{
    const std::pair<const char*, std::uint64_t> cases[] = {
        {"0", 0},
        {"4096", 4'096},
        {"4096B", 4'096},
        {"007", 7},
        {"64KiB", 65'536},
        {"64 KiB", 65'536},
        {"64kib", 65'536},
        {"1MiB", 1'048'576},
        {"1.5GiB", 1'610'612'736},
        {"0.5KiB", 512},
        {"1.000000001GiB", 1'073'741'825},
        {"0.1KiB", 102},
        {"2kB", 2'000},
        {"2MB", 2'000'000},
        {"2.25GB", 2'250'000'000},
        {"3TB", 3'000'000'000'000},
        {"1PB", 1'000'000'000'000'000},
        {"1TiB", std::uint64_t{1} << 40},
        {"16383PiB", std::uint64_t{16'383} << 50},
        {"16383.999999999PiB", 18'446'744'073'708'425'716u},
        {"18446744073709551615", std::numeric_limits<std::uint64_t>::max()},
        {"18446744073709551615B", std::numeric_limits<std::uint64_t>::max()},
    };
    for (const auto& [text, bytes] : cases) {
        INFO(text);
        const auto parsed = parse_byte_size(text);
        REQUIRE(parsed.has_value());
        CHECK(*parsed == bytes);
    }
}

TEST_CASE("what is no size is refused", "[byte_size]")
{
    for (const auto* text : {"", " ", "B", "KiB", "-1", "+1", " 1", "1 ", "1  KiB", "1KiB ", "64K", "64k", "1M", "1kb",
             "1KB", "1mb", "1mB", "1bit", "1KiBs", "1.KiB", ".5KiB", "1.5", "1..5KiB", "1.5.5KiB", "1,5KiB", "1e3",
             "0x10", "1_000", "1.0000000001GiB", "1\tKiB", "1EiB", "nan", "inf"}) {
        INFO('"' << text << '"');
        CHECK(parse_byte_size(text).error() == make_error_code(errc::invalid_argument));
    }
    CHECK(parse_byte_size(std::string_view("1\0", 2)).error() == make_error_code(errc::invalid_argument));
}

TEST_CASE("what does not fit is refused", "[byte_size]")
{
    for (const auto* text : {"18446744073709551616", "99999999999999999999999", "16384PiB", "18014398509481984KiB",
             "18446744073709552kB", "18446744073709551.616kB"}) {
        INFO(text);
        CHECK(parse_byte_size(text).error() == make_error_code(errc::out_of_range));
    }
    CHECK(parse_byte_size("18446744073709551.615kB").value() == std::numeric_limits<std::uint64_t>::max());
}

TEST_CASE("sizes are written", "[byte_size]")
{
    CHECK(format_byte_size(0) == "0B");
    CHECK(format_byte_size(1) == "1B");
    CHECK(format_byte_size(1'023) == "1023B");
    CHECK(format_byte_size(1'024) == "1KiB");
    CHECK(format_byte_size(1'025) == "1KiB");
    CHECK(format_byte_size(1'536) == "1.5KiB");
    CHECK(format_byte_size(1'792) == "1.75KiB");
    CHECK(format_byte_size(10'240) == "10KiB");
    CHECK(format_byte_size(102'400) == "100KiB");
    CHECK(format_byte_size(1'048'575) == "1MiB");
    CHECK(format_byte_size(1'043'333) == "1018.88KiB");
    CHECK(format_byte_size(1'048'576) == "1MiB");
    CHECK(format_byte_size(1'431'655'765) == "1.33GiB");
    CHECK(format_byte_size(std::numeric_limits<std::uint64_t>::max()) == "16384PiB");
}

TEST_CASE("a written size is read back, to half a hundredth of its unit", "[byte_size]")
{
    seeded_random_source source(11);
    for (int i = 0; i != 20'000; ++i) {
        const std::uint64_t bytes = source.next() >> (1 + uniform_below(source, 63));
        const auto text = format_byte_size(bytes);
        INFO(bytes << " is " << text);
        const auto back = parse_byte_size(text);
        REQUIRE(back.has_value());
        const auto difference = *back > bytes ? *back - bytes : bytes - *back;
        REQUIRE(difference <= bytes / 100);
        if (bytes % 256 == 0 && bytes < 1_MiB)
            REQUIRE(difference == 0);
    }
}

TEST_CASE("rates are written to three digits", "[byte_size]")
{
    CHECK(format_byte_rate(0) == "0B/s");
    CHECK(format_byte_rate(0.4) == "0B/s");
    CHECK(format_byte_rate(999) == "999B/s");
    CHECK(format_byte_rate(999.9) == "1kB/s");
    CHECK(format_byte_rate(1'000) == "1kB/s");
    CHECK(format_byte_rate(85'312'000) == "85.3MB/s");
    CHECK(format_byte_rate(1.25e9) == "1.25GB/s");
    CHECK(format_byte_rate(9.994e9) == "9.99GB/s");
    CHECK(format_byte_rate(9.996e9) == "10GB/s");
    CHECK(format_byte_rate(99.96e9) == "100GB/s");
    CHECK(format_byte_rate(999.4e9) == "999GB/s");
    CHECK(format_byte_rate(999.6e9) == "1TB/s");
    CHECK(format_byte_rate(-1) == "?B/s");
    CHECK(format_byte_rate(std::numeric_limits<double>::quiet_NaN()) == "?B/s");
    CHECK(format_byte_rate(std::numeric_limits<double>::infinity()) == "?B/s");
}

TEST_CASE("size literals", "[byte_size]")
{
    static_assert(4_KiB == 4'096);
    static_assert(64_MiB == 67'108'864);
    static_assert(4_GiB == 4'294'967'296);
    CHECK(format_byte_size(64_MiB) == "64MiB");
}
