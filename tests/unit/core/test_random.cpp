#include <penstock/core/identifier.hpp>
#include <penstock/core/random.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

using namespace penstock;

namespace {

// Hands out what it was given, so that a test sees which draws are used.
class scripted_random_source final : public random_source {
public:
    explicit scripted_random_source(std::vector<std::uint64_t> values)
        : values_(std::move(values))
    {}

    std::uint64_t next() noexcept override { return values_.at(used_++); }

    void fill(std::span<std::byte> bytes) noexcept override
    {
        const auto value = static_cast<std::byte>(next());
        for (auto& byte : bytes)
            byte = value;
    }

    std::size_t used() const { return used_; }

private:
    std::vector<std::uint64_t> values_;
    std::size_t used_ = 0;
};

} // namespace

TEST_CASE("a seeded sequence is fixed for ever", "[random]")
{
    // The first outputs of xoshiro256** seeded by SplitMix64 of 0, as other implementations publish them.
    seeded_random_source zero(0);
    CHECK(zero.next() == 11'091'344'671'253'066'420u);
    CHECK(zero.next() == 13'793'997'310'169'335'082u);
    CHECK(zero.next() == 1'900'383'378'846'508'768u);

    seeded_random_source left(42);
    seeded_random_source right(42);
    seeded_random_source other(43);
    int different = 0;
    for (int i = 0; i != 1'000; ++i) {
        const auto value = left.next();
        REQUIRE(value == right.next());
        different += value != other.next();
    }
    CHECK(different == 1'000);
}

TEST_CASE("seeded bytes are those of the numbers, lowest first", "[random]")
{
    seeded_random_source numbers(7);
    seeded_random_source bytes(7);
    std::array<std::byte, 11> filled{};
    bytes.fill(filled);
    const auto first = numbers.next();
    const auto second = numbers.next();
    for (std::size_t i = 0; i != filled.size(); ++i) {
        const auto word = i < 8 ? first : second;
        CHECK(std::to_integer<std::uint64_t>(filled[i]) == ((word >> (8 * (i % 8))) & 0xff));
    }
    CHECK(bytes.next() == numbers.next());
    bytes.fill({});
    CHECK(bytes.next() == numbers.next());
}

TEST_CASE("every bit of a seeded sequence is set half of the time", "[random]")
{
    seeded_random_source source(1);
    std::array<int, 64> set{};
    for (int i = 0; i != 10'000; ++i) {
        const auto value = source.next();
        for (std::size_t bit = 0; bit != set.size(); ++bit)
            set[bit] += static_cast<int>((value >> bit) & 1);
    }
    for (const int count : set)
        CHECK((count > 4'750 && count < 5'250)); // five standard deviations
}

TEST_CASE("the system's source fills every byte", "[random]")
{
    auto& source = system_random_source();
    CHECK(source.next() != source.next());
    // A byte that is never written stays 0 in all of 8 rounds: by chance once in 256^8.
    std::array<std::byte, 1'000> touched{};
    for (int round = 0; round != 8; ++round) {
        std::array<std::byte, 1'000> bytes{};
        source.fill(bytes);
        for (std::size_t i = 0; i != bytes.size(); ++i)
            touched[i] |= bytes[i];
    }
    CHECK(std::count(touched.begin(), touched.end(), std::byte{0}) == 0);
    source.fill({});
}

TEST_CASE("numbers below a bound", "[random]")
{
    seeded_random_source source(3);
    CHECK(uniform_below(source, 1) == 0);
    std::array<int, 6> seen{};
    for (int i = 0; i != 6'000; ++i)
        ++seen.at(uniform_below(source, seen.size()));
    for (const int count : seen)
        CHECK((count > 850 && count < 1'150));

    // 2^64 mod (2^63 + 1) = 2^63 - 1: draws below that would favour some numbers and are refused.
    const std::uint64_t bound = (std::uint64_t{1} << 63) + 1;
    scripted_random_source scripted({0, bound - 3, bound - 2});
    CHECK(uniform_below(scripted, bound) == bound - 2);
    CHECK(scripted.used() == 3);
}

TEST_CASE("identifiers: generated, written, read", "[identifier]")
{
    CHECK_FALSE(identifier{});
    const auto id = make_identifier(system_random_source());
    CHECK(id);
    CHECK(parse_identifier(to_string(id)).value() == id);

    const auto known = parse_identifier("000102030405060708090A0b0c0D0e0f").value();
    CHECK(known.bytes[10] == std::byte{10});
    CHECK(to_string(known) == "000102030405060708090a0b0c0d0e0f");
    CHECK(known < parse_identifier("000102030405060708090a0b0c0d0e10").value());

    // All zero is drawn first: it means "none" and must not be handed out.
    scripted_random_source scripted({0, 5});
    CHECK(to_string(make_identifier(scripted)) == std::string("05050505050505050505050505050505"));
}

TEST_CASE("identifiers: junk is refused", "[identifier]")
{
    for (const auto* text : {"", "0", "000102030405060708090a0b0c0d0e0", "000102030405060708090a0b0c0d0e0f0",
             "000102030405060708090a0b0c0d0e0g", "g00102030405060708090a0b0c0d0e0f", " 00102030405060708090a0b0c0d0e0f",
             "0x0102030405060708090a0b0c0d0e0f", "-00102030405060708090a0b0c0d0e0f"})
        CHECK(parse_identifier(text).error() == make_error_code(errc::invalid_argument));
}

TEST_CASE("identifiers: hashes differ where one bit does", "[identifier]")
{
    std::set<std::size_t> hashes;
    for (std::size_t bit = 0; bit != 128; ++bit) {
        identifier id;
        id.bytes[bit / 8] = static_cast<std::byte>(1 << (bit % 8));
        hashes.insert(hash_value(id));
    }
    CHECK(hashes.size() == 128);
}
