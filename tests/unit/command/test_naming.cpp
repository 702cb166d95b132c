#include "penstock/failure.hpp"
#include "penstock/naming.hpp"

#include "support/catch.hpp"

using namespace penstock::command;
using penstock::storage::uri;

namespace {

uri at(const std::string& name, bool names_directory = false)
{
    return {"host", 7471, name, names_directory};
}

} // namespace

TEST_CASE("base names")
{
    CHECK(base_name("a/b") == "b");
    CHECK(base_name("b") == "b");
    CHECK(base_name("a/b///") == "b");
    CHECK(base_name("/") == "");
    CHECK(base_name(".") == "");
    CHECK(base_name("a/..") == "");
    CHECK(base_name("") == "");
}

TEST_CASE("one source takes the URI as its new name")
{
    CHECK(name_put({"x/y"}, at("a/b")) == std::vector<copy_pair>{{"x/y", "a/b"}});
}

TEST_CASE("a source goes into a directory under its own name")
{
    CHECK(name_put({"x/y"}, at("a", true)) == std::vector<copy_pair>{{"x/y", "a/y"}});
    CHECK(name_put({"x/y/"}, at("", true)) == std::vector<copy_pair>{{"x/y/", "y"}});
    CHECK(name_put({"x/y", "z"}, at("a")) == std::vector<copy_pair>{{"x/y", "a/y"}, {"z", "a/z"}});
    CHECK(name_put({"."}, at("a", true)) == std::vector<copy_pair>{{".", "a"}});
}

TEST_CASE("two sources of one name are refused")
{
    CHECK_THROWS_AS(name_put({"x/y", "z/y"}, at("a")), failure);
    CHECK_THROWS_AS(name_put({""}, at("a")), failure);
    CHECK_THROWS_AS(name_get({at("x/y"), at("z/y")}, "d", true), failure);
}

TEST_CASE("get into a directory, or under a new name")
{
    auto named = name_get({at("a/b")}, "d", true);
    CHECK(named.directory == "d");
    CHECK(named.pairs == std::vector<copy_pair>{{"a/b", "b"}});

    named = name_get({at("a/b")}, "d/", false);
    CHECK(named.directory == "d");
    CHECK(named.pairs == std::vector<copy_pair>{{"a/b", "b"}});

    named = name_get({at("a/b"), at("c")}, "d", false);
    CHECK(named.directory == "d");
    CHECK(named.pairs == std::vector<copy_pair>{{"a/b", "b"}, {"c", "c"}});

    named = name_get({at("a/b")}, "d/e", false);
    CHECK(named.directory == "d");
    CHECK(named.pairs == std::vector<copy_pair>{{"a/b", "e"}});

    named = name_get({at("a/b")}, "e", false);
    CHECK(named.directory == ".");
    named = name_get({at("a/b")}, "/e", false);
    CHECK(named.directory == "/");
    CHECK(named.pairs == std::vector<copy_pair>{{"a/b", "e"}});
    named = name_get({at("a/b")}, "/", true);
    CHECK(named.directory == "/");
}

TEST_CASE("get of a whole root puts its contents into the destination")
{
    CHECK(name_get({at("", true)}, "d", true).pairs == std::vector<copy_pair>{{"", ""}});
}

TEST_CASE("sources of different servers are refused")
{
    auto other = at("c");
    other.port = 1;
    CHECK_THROWS_AS(name_get({at("a"), other}, "d", true), failure);
    CHECK_THROWS_AS(name_get({at("a")}, "", false), failure);
}

TEST_CASE("names are fit to print")
{
    CHECK(printable("a b \xc3\xa9") == "a b \xc3\xa9");
    CHECK(printable("a\nb\\\x1b") == "a\\nb\\\\\\x1b");
}
