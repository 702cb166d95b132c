#include "support/catch.hpp"

#include <penstock/storage/object.hpp>
#include <penstock/storage/uri.hpp>

using namespace penstock;
using namespace penstock::storage;

namespace {

uri parsed(std::string_view text)
{
    CAPTURE(text);
    const auto where = parse_uri(text);
    REQUIRE(where.has_value());
    return *where;
}

bool same(const uri& a, const uri& b)
{
    return a.host == b.host && a.port == b.port && a.name == b.name && a.names_directory == b.names_directory;
}

} // namespace

TEST_CASE("a URI has a host, a port and a name")
{
    const auto plain = parsed("penstock://gateway/data/shard-000.tar");
    CHECK(plain.host == "gateway");
    CHECK(plain.port == default_port);
    CHECK(plain.name == "data/shard-000.tar");
    CHECK_FALSE(plain.names_directory);

    const auto full = parsed("PENSTOCK://10.0.0.1:65535/a%20b%2Fc/%C3%A9");
    CHECK(full.host == "10.0.0.1");
    CHECK(full.port == 65'535);
    CHECK(full.name == "a b/c/\xc3\xa9");

    // Unencoded bytes are taken as they are.
    CHECK(parsed("penstock://h/a b/\xc3\xa9").name == "a b/\xc3\xa9");
}

TEST_CASE("a trailing slash names a directory")
{
    for (const auto* text : {"penstock://h", "penstock://h/", "penstock://h:1"}) {
        const auto root = parsed(text);
        CHECK(root.name.empty());
        CHECK(root.names_directory);
    }
    const auto directory = parsed("penstock://h/a/b/");
    CHECK(directory.name == "a/b");
    CHECK(directory.names_directory);
    CHECK_FALSE(parsed("penstock://h/a/b%2F").names_directory);

    // More slashes than one are not forgiven: the name shows them, and is refused.
    for (const auto* text : {"penstock://h//", "penstock://h//a", "penstock://h/a//b", "penstock://h/a//"})
        CHECK_FALSE(is_valid_name(parsed(text).name));
}

TEST_CASE("an IPv6 address stands in brackets")
{
    const auto loopback = parsed("penstock://[::1]:7000/x");
    CHECK(loopback.host == "::1");
    CHECK(loopback.port == 7000);
    CHECK(parsed("penstock://[fe80::1%25eth0]/x").host == "fe80::1%eth0");
    CHECK(parsed("penstock://[fe80::1%eth0]/x").host == "fe80::1%eth0");
    CHECK(parsed("penstock://[::ffff:10.0.0.1]").host == "::ffff:10.0.0.1");
}

TEST_CASE("what is no URI is refused")
{
    for (const std::string_view text : {"", "penstock", "penstock:", "penstock:/h/x", "http://h/x", "penstock://",
             "penstock:///x", "penstock://:1/x", "penstock://h:/x", "penstock://h:0/x", "penstock://h:65536/x",
             "penstock://h:-1/x", "penstock://h:+1/x", "penstock://h: 1/x", "penstock://h:1x/x",
             "penstock://h:99999999999999999999/x", "penstock://user@h/x", "penstock://h h/x", "penstock://h%20/x",
             "penstock://::1/x", "penstock://[::1/x", "penstock://[]/x", "penstock://[h]/x", "penstock://[::1]x/x",
             "penstock://[::1%]/x", "penstock://[::1%a b]/x", "penstock://h/%", "penstock://h/%2", "penstock://h/%2g",
             "penstock://h/%g2", "penstock://h/x?y", "penstock://h/x#y", "penstock://h?x", " penstock://h/x"}) {
        CAPTURE(text);
        const auto where = parse_uri(text);
        REQUIRE(where.has_error());
        CHECK(where.error() == errc::invalid_argument);
    }
}

TEST_CASE("to_string is read back as the same")
{
    CHECK(to_string(uri{"h", default_port, "a/b c", false}) == "penstock://h/a/b%20c");
    CHECK(to_string(uri{"h", 1, "", true}) == "penstock://h:1/");
    CHECK(to_string(uri{"::1", 1, "d", true}) == "penstock://[::1]:1/d/");
    CHECK(to_string(uri{"fe80::1%eth0", default_port, "d", false}) == "penstock://[fe80::1%25eth0]/d");
    CHECK(to_string(uri{"h", default_port, "100%?#", false}) == "penstock://h/100%25%3F%23");

    std::string every_byte;
    for (int c = 0; c != 256; ++c)
        every_byte.push_back(static_cast<char>(c));
    for (const std::string& name : {std::string("a/b"), std::string("a/"), std::string("/"), std::string("//"),
             std::string("/a"), every_byte, std::string("\xc3\xa9/\xf0\x9f\x98\x80"), std::string("%41")})
        for (const bool directory : {false, true}) {
            const uri where{"host-1.example", 7000, name, directory};
            CAPTURE(to_string(where));
            CHECK(same(parsed(to_string(where)), where));
        }
    CHECK(same(parsed("penstock://h//"), parsed(to_string(parsed("penstock://h//")))));
}

TEST_CASE("names keep the rules of the root")
{
    const std::string component(component_bytes_max, 'c');
    std::string longest;
    while (longest.size() + component.size() + 1 <= name_bytes_max)
        longest += component + '/';
    longest += std::string(name_bytes_max - longest.size(), 'd');
    REQUIRE(longest.size() == name_bytes_max);

    for (const std::string& name : {std::string(), std::string("a"), std::string("a/b/c"), std::string(".hidden"),
             std::string("..."), std::string("..a"), std::string("a/.penstock"), std::string(".pensto"), component,
             longest, std::string("\xff\xfe"), std::string("with space\nand line")}) {
        CAPTURE(name);
        CHECK(is_valid_name(name));
    }
    for (const std::string& name : {std::string("/"), std::string("/a"), std::string("a/"), std::string("a//b"),
             std::string("."), std::string(".."), std::string("a/."), std::string("a/.."), std::string("../a"),
             std::string("a/../b"), std::string("./a"), std::string(1, '\0'), std::string("a\0b", 3),
             std::string(".penstock"), std::string(".penstock-staging/x"), component + 'c', "a/" + component + 'c',
             component + "c/a", longest + 'd'}) {
        CAPTURE(name);
        CHECK_FALSE(is_valid_name(name));
    }
    CHECK(is_valid_entry_name(component));
    for (const std::string& name : {std::string(), std::string("a/b"), std::string("."), std::string(".."),
             component + 'c', std::string("a\0", 2)})
        CHECK_FALSE(is_valid_entry_name(name));
}
