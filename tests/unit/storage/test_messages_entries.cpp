#include "message_samples.hpp"
#include "support/catch.hpp"

using namespace penstock;
using namespace penstock::storage;

namespace {

std::vector<std::byte> encoded(const std::vector<list_entry>& entries)
{
    std::vector<std::byte> window(64 * 1024);
    window.resize(encode_entries(entries, window));
    return window;
}

// The entry as a hostile server would send it, whatever its name.
std::vector<std::byte> forged(const std::string& name)
{
    auto bytes = encoded({{std::string(name.size(), 'a'), {}}});
    REQUIRE(bytes.size() == entry_header_bytes + name.size());
    std::transform(name.begin(), name.end(), bytes.begin() + entry_header_bytes, [](char c) { return std::byte(c); });
    return bytes;
}

} // namespace

TEST_CASE("entries have the documented bytes")
{
    const auto bytes = samples::from_hex(samples::entries_hex);
    CHECK(encoded(samples::entries()) == bytes);
    const auto decoded = decode_entries(bytes);
    REQUIRE(decoded.has_value());
    CHECK(*decoded == samples::entries());
    CHECK(decode_entries({})->empty());
}

TEST_CASE("entries are all written or none")
{
    const auto entries = samples::entries();
    const auto bytes = encoded_bytes(entries[0]) + encoded_bytes(entries[1]);
    std::vector<std::byte> exact(bytes);
    CHECK(encode_entries(entries, exact) == bytes);
    std::vector<std::byte> short_by_one(bytes - 1);
    CHECK(encode_entries(entries, short_by_one) == 0);

    CHECK(encoded({{std::string(component_bytes_max, 'x'), {}}}).size() == entry_bytes_max);
    CHECK(encoded({{std::string(component_bytes_max + 1, 'x'), {}}}).empty());
    CHECK(encoded({{"", {}}}).empty());
    CHECK(encoded({{"b", {}}, {"a", {}}}).empty());
    CHECK(encoded({{"a", {}}, {"a", {}}}).empty());
    CHECK(encoded({{"a", {object_kind::directory, 1, 0, 0}}}).empty());
    CHECK(encoded({{"a", {object_kind{2}, 0, 0, 0}}}).empty());
    // Bytes are unsigned: 0xc3 is after 'z'.
    CHECK_FALSE(encoded({{"z", {}}, {"\xc3\xa9", {}}}).empty());
}

TEST_CASE("names that would lead a client elsewhere are refused")
{
    for (const std::string& name : {std::string("."), std::string(".."), std::string("/"), std::string("a/b"),
             std::string("../a"), std::string("/etc/passwd"), std::string("a\0b", 3), std::string(1, '\0')}) {
        CAPTURE(name);
        const auto decoded = decode_entries(forged(name));
        REQUIRE(decoded.has_error());
        CHECK(decoded.error() == errc::malformed_message);
    }
    CHECK(decode_entries(forged("ordinary")).has_value());
    CHECK(decode_entries(forged("..a")).has_value());
}

TEST_CASE("a listing that does not advance is refused")
{
    auto twice = forged("b");
    const auto same = forged("b");
    twice.insert(twice.end(), same.begin(), same.end());
    CHECK(decode_entries(twice).error() == errc::malformed_message);
    auto backward = forged("b");
    const auto smaller = forged("a");
    backward.insert(backward.end(), smaller.begin(), smaller.end());
    CHECK(decode_entries(backward).error() == errc::malformed_message);
}
