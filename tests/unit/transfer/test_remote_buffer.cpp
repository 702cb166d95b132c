#include "support/catch.hpp"

#include <penstock/transfer/remote_buffer.hpp>

#include <algorithm>
#include <array>
#include <limits>
#include <stdexcept>
#include <vector>

using namespace penstock;
using namespace penstock::transfer;
using rights = fabric::access; // access() is a function of the C library

namespace {

constexpr std::array keys{lane_key{0, 0x01020304}, lane_key{3, 0xaabbccdd}};

remote_buffer sample()
{
    return remote_buffer::make(
        0x1122334455667788U, 0x7f0000001000U, 0x2345, 7, rights::remote_read | rights::remote_write, keys)
        .value();
}

std::vector<std::byte> encoded(const remote_buffer& buffer)
{
    std::vector<std::byte> bytes(remote_buffer::encoded_bytes_max);
    bytes.resize(buffer.encode(bytes));
    return bytes;
}

error_code refusal(std::vector<std::byte> bytes, std::size_t offset, unsigned value)
{
    bytes.at(offset) = static_cast<std::byte>(value);
    const auto decoded = remote_buffer::decode(bytes);
    return decoded ? error_code{} : decoded.error();
}

} // namespace

TEST_CASE("a remote buffer survives its wire form, whose bytes are these")
{
    const auto bytes = encoded(sample());
    constexpr std::array<unsigned char, 48> golden{
        1, 3, 2, 0, 7, 0, 0, 0,                         // version, rights, keys, zero, epoch
        0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, // id
        0x00, 0x10, 0x00, 0x00, 0x00, 0x7f, 0, 0,       // address
        0x45, 0x23, 0, 0, 0, 0, 0, 0,                   // length
        0, 0, 0, 0, 0x04, 0x03, 0x02, 0x01,             // lane 0
        3, 0, 0, 0, 0xdd, 0xcc, 0xbb, 0xaa,             // lane 3
    };
    REQUIRE(bytes.size() == golden.size());
    CHECK(std::equal(bytes.begin(), bytes.end(), golden.begin(),
        [](std::byte a, unsigned char b) { return std::to_integer<unsigned char>(a) == b; }));

    const auto back = remote_buffer::decode(bytes).value();
    CHECK(back == sample());
    CHECK(back.rights() == (rights::remote_read | rights::remote_write));
    CHECK(back.key_for(0) == 0x01020304U);
    CHECK(back.key_for(3) == 0xaabbccddU);
    CHECK_FALSE(back.key_for(1).has_value());
    CHECK_FALSE(back.key_for(0x1'0000).has_value());
}

TEST_CASE("as many keys as there may be lanes")
{
    std::array<lane_key, remote_buffer::lanes_max + 1> many{};
    for (std::uint16_t lane = 0; lane != many.size(); ++lane) {
        many[lane] = {lane, lane * 7U};
    }
    const auto most = std::span(many).first(remote_buffer::lanes_max);
    const auto buffer = remote_buffer::make(1, 0, 1, 0, rights::remote_atomic, most).value();
    CHECK(encoded(buffer).size() == remote_buffer::encoded_bytes_max);
    CHECK(remote_buffer::decode(encoded(buffer)).value() == buffer);
    CHECK(remote_buffer::make(1, 0, 1, 0, rights::remote_atomic, many).error() == errc::invalid_argument);
}

TEST_CASE("nothing of no room, and no room for nothing")
{
    std::vector<std::byte> bytes(47);
    CHECK(sample().encode(bytes) == 0);
    CHECK(std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{}; }));
    bytes.resize(200);
    CHECK(remote_buffer{}.encode(bytes) == 0);
    CHECK(remote_buffer{}.empty());
}

TEST_CASE("a slice keeps id and keys, and stays inside")
{
    const auto whole = sample();
    const auto part = whole.slice(0x100, 0x45);
    CHECK(part.address() == whole.address() + 0x100);
    CHECK(part.length() == 0x45);
    CHECK(part.id() == whole.id());
    CHECK(part.key_for(3) == whole.key_for(3));
    CHECK(part.slice(0x45, 0).empty());
    CHECK_THROWS_AS(part.slice(0x46, 0), std::out_of_range);
    CHECK_THROWS_AS(part.slice(1, 0x45), std::out_of_range);
    CHECK_THROWS_AS(part.slice(1, std::numeric_limits<std::uint64_t>::max()), std::out_of_range);
}

TEST_CASE("what cannot be exposed is refused")
{
    const auto refused = [](std::uint64_t id, std::uint64_t address, std::uint64_t length, rights allowed, auto given) {
        return remote_buffer::make(id, address, length, 0, allowed, given).error() == errc::invalid_argument;
    };
    constexpr auto top = std::numeric_limits<std::uint64_t>::max();
    CHECK(refused(0, 1, 1, rights::remote_read, keys));
    CHECK(refused(1, 1, 0, rights::remote_read, keys));
    CHECK(refused(1, top, 2, rights::remote_read, keys));
    CHECK(remote_buffer::make(1, top, 1, 0, rights::remote_read, keys).has_value());
    CHECK(refused(1, 1, 1, rights::none, keys));
    CHECK(refused(1, 1, 1, rights::remote_read | rights::local_write, keys));
    CHECK(refused(1, 1, 1, rights::remote_read, std::span<const lane_key>{}));
    CHECK(refused(1, 1, 1, rights::remote_read, std::array{lane_key{1, 1}, lane_key{1, 2}}));
    CHECK(refused(1, 1, 1, rights::remote_read, std::array{lane_key{2, 1}, lane_key{1, 2}}));
}

TEST_CASE("a hostile wire form is refused")
{
    const auto good = encoded(sample());
    for (std::size_t length = 0; length != good.size(); ++length) {
        CHECK(remote_buffer::decode(std::span(good).first(length)).error() == errc::malformed_message);
    }
    auto longer = good;
    longer.resize(good.size() + remote_buffer::key_bytes);
    CHECK(remote_buffer::decode(longer).error() == errc::malformed_message);

    CHECK(refusal(good, 0, 2) == errc::unsupported_version);
    CHECK(refusal(good, 1, 0) == errc::malformed_message);   // no rights
    CHECK(refusal(good, 1, 8) == errc::malformed_message);   // an unknown one
    CHECK(refusal(good, 2, 0) == errc::malformed_message);   // no keys
    CHECK(refusal(good, 2, 1) == errc::malformed_message);   // fewer than there are
    CHECK(refusal(good, 2, 255) == errc::malformed_message); // more
    CHECK(refusal(good, 3, 1) == errc::malformed_message);   // not zero
    CHECK(refusal(good, 34, 1) == errc::malformed_message);  // not zero
    CHECK(refusal(good, 40, 0) == errc::malformed_message);  // a lane twice
    auto wrapping = good;
    wrapping[23] = std::byte{1};
    CHECK(refusal(wrapping, 31, 255) == errc::malformed_message);
    CHECK_FALSE(refusal(wrapping, 31, 254).failed());
    auto none = good;
    std::fill_n(none.begin() + 8, 8, std::byte{});
    CHECK(remote_buffer::decode(none).error() == errc::malformed_message); // id 0
    none = good;
    std::fill_n(none.begin() + 24, 8, std::byte{});
    CHECK(remote_buffer::decode(none).error() == errc::malformed_message); // no bytes
}
