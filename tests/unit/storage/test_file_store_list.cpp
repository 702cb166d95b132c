#include "file_tree.hpp"
#include "storage/messages.hpp"
#include "support/catch.hpp"

#include <penstock/core/random.hpp>

#include <algorithm>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace penstock;
using namespace penstock::storage;
using namespace penstock::storage::test;

namespace {

struct listing {
    std::vector<std::string> names;
    std::size_t pages = 0;
};

// All pages; each one is encoded as the server does it.
listing list_all(const file_store& store, std::string_view directory, std::size_t limit_bytes)
{
    listing all;
    std::string after;
    std::vector<std::byte> window(limit_bytes);
    for (bool more = true; more;) {
        const auto page = store.list(directory, after, limit_bytes);
        REQUIRE(page.has_value());
        more = page->more;
        REQUIRE((!more || !page->entries.empty()));
        const auto bytes = encode_entries(page->entries, window);
        REQUIRE((page->entries.empty() || bytes != 0));
        const auto read_back = decode_entries(std::span(window).first(bytes));
        REQUIRE(read_back.has_value());
        CHECK(*read_back == page->entries);
        // Full: no entry more would have fitted for certain.
        if (more)
            CHECK(bytes + entry_bytes_max > limit_bytes);
        for (const auto& entry : page->entries)
            all.names.push_back(entry.name);
        ++all.pages;
        REQUIRE(all.pages < 100'000);
        if (!all.names.empty())
            after = all.names.back();
    }
    return all;
}

} // namespace

TEST_CASE("a listing has files and directories in byte order")
{
    const file_tree tree;
    const auto store = open_store(tree);
    CHECK(store->list("", "", 65'536)->entries.empty()); // the staging directory is not shown
    CHECK_FALSE(store->list("", "", 65'536)->more);
    tree.make_directory("d/sub");
    tree.write("d/b", "12345");
    tree.write("d/B", "");
    tree.write("d/\xc3\xa9", "");
    tree.write("d/a b", "");
    tree.write("d/.hidden", "");
    tree.write("d/.penstock-other", "");
    tree.link("d/link", "b");
    tree.link("d/dangling", "none");
    REQUIRE(::mkfifo(tree.path("d/fifo").c_str(), 0666) == 0);
    ::chmod(tree.path("d/b").c_str(), 0604);

    const auto page = store->list("d", "", 65'536);
    REQUIRE(page.has_value());
    CHECK_FALSE(page->more);
    std::vector<std::string> names;
    for (const auto& entry : page->entries)
        names.push_back(entry.name);
    CHECK(names == std::vector<std::string>{".hidden", ".penstock-other", "B", "a b", "b", "link", "sub", "\xc3\xa9"});
    CHECK(page->entries[4].info.size == 5);
    CHECK(page->entries[4].info.permissions == 0604);
    CHECK(page->entries[5].info == page->entries[4].info);
    CHECK(page->entries[6].info.kind == object_kind::directory);
    CHECK(page->entries[6].info.size == 0);

    CHECK(store->list("d", "b", 65'536)->entries.front().name == "link");
    CHECK(store->list("d", "bb", 65'536)->entries.front().name == "link");
    CHECK(store->list("d", "\xff", 65'536)->entries.empty());
    CHECK(store->list("none", "", 65'536).error() == errc::not_found);
    CHECK(store->list("d/b", "", 65'536).error() == errc::not_directory);
    CHECK(store->list("d", "", entry_bytes_max - 1).error() == errc::invalid_argument);
    CHECK(store->list("d", "", entry_bytes_max).has_value());

    // Through a link back to the root the reserved names stay hidden.
    tree.link("d/top", "..");
    CHECK(store->list("d/top", "", 65'536)->entries.size() == 1);
}

TEST_CASE("a link that leads back to a directory on the way to it is not listed")
{
    const file_tree tree;
    const auto store = open_store(tree);
    tree.make_directory("a/b");
    tree.make_directory("c");
    tree.link("a/b/here", ".");
    tree.link("a/b/up", "..");
    tree.link("a/b/top", "../..");
    tree.link("a/b/across", "../../c");
    tree.link("c/back", "../a");

    const auto names_in = [&](const char* directory) { return list_all(*store, directory, 65'536).names; };
    CHECK(names_in("a/b") == std::vector<std::string>{"across"});
    CHECK(names_in("c") == std::vector<std::string>{"back"});
    CHECK(names_in("a/b/across").empty()); // its "back" is a directory of this very name
    CHECK(names_in("c/back") == std::vector<std::string>{"b"});
    CHECK(names_in("c/back/b").empty());
    CHECK(store->stat("a/b/up")->info.kind == object_kind::directory); // by its name it can be reached
}

TEST_CASE("pages join to the directory, whatever their size")
{
    const file_tree tree;
    const auto store = open_store(tree);
    tree.make_directory("d");
    seeded_random_source random(42);
    std::vector<std::string> expected;
    for (int i = 0; i != 300; ++i) {
        // Lengths differ much, so that dropping a long name makes room for short ones: those that follow it must wait.
        std::string name = std::to_string(uniform_below(random, 1'000'000)) + '-' + std::to_string(i);
        name.append(uniform_below(random, 3) == 0 ? uniform_below(random, 240) : 0, 'x');
        tree.write("d/" + name, "");
        expected.push_back(name);
    }
    std::sort(expected.begin(), expected.end());
    for (const std::size_t limit :
        {entry_bytes_max, std::size_t{300}, std::size_t{1'000}, std::size_t{4'000}, std::size_t{65'536}})
        CHECK(list_all(*store, "d", limit).names == expected);
}

TEST_CASE("a directory of 20,000 entries comes in pages")
{
    const file_tree tree;
    const auto store = open_store(tree);
    tree.make_directory("big");
    std::vector<std::string> expected;
    for (int i = 0; i != 20'000; ++i) {
        expected.push_back("file-" + std::to_string(i));
        const unique_fd made(::open(tree.path("big/" + expected.back()).c_str(), O_CREAT | O_WRONLY, 0644));
        REQUIRE(made);
    }
    std::sort(expected.begin(), expected.end());
    const auto all = list_all(*store, "big", 65'536);
    CHECK(all.names == expected);
    CHECK(all.pages > 10);
    CHECK(all.pages < 12);
}
