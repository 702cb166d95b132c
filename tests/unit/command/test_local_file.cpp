#include "penstock/local_file.hpp"
#include "temporary_directory.hpp"

#include <span>

#include <fcntl.h>
#include <sys/stat.h>

using namespace penstock::command;
namespace fs = std::filesystem;
using penstock::errc;

namespace {

std::span<const std::byte> bytes_of(std::string_view text)
{
    return std::as_bytes(std::span(text));
}

struct opened_root {
    explicit opened_root(const temporary_directory& here)
    {
        auto made = open_destination(here.path().string());
        REQUIRE(made.has_value());
        root = std::move(*made);
    }
    int get() const { return root.get(); }
    descriptor root;
};

unsigned permissions_of(const fs::path& path)
{
    return static_cast<unsigned>(fs::status(path).permissions());
}

} // namespace

TEST_CASE("a new file appears whole, with its permissions")
{
    temporary_directory here;
    const opened_root root(here);
    auto file = new_file::create(root.get(), "a/b/c d", 5);
    REQUIRE(file.has_value());
    CHECK_FALSE(file->write(bytes_of("llo"), 2));
    CHECK_FALSE(file->write(bytes_of("he"), 0));
    CHECK_FALSE(fs::exists(here / "a/b/c d"));
    CHECK_FALSE(file->commit(0751));
    CHECK(here.read("a/b/c d") == "hello");
    CHECK(permissions_of(here / "a/b/c d") == 0751);
}

TEST_CASE("an abandoned file leaves nothing, a committed one replaces")
{
    temporary_directory here;
    here.write("f", "old");
    const opened_root root(here);
    {
        auto file = new_file::create(root.get(), "f", 3);
        REQUIRE(file.has_value());
        CHECK_FALSE(file->write(bytes_of("new"), 0));
    }
    CHECK(here.read("f") == "old");
    CHECK(here.entry_count() == 1);
    {
        auto file = new_file::create(root.get(), "f", 3);
        REQUIRE(file.has_value());
        CHECK_FALSE(file->write(bytes_of("new"), 0));
        CHECK_FALSE(file->commit(0644));
    }
    CHECK(here.read("f") == "new");
    CHECK(here.entry_count() == 1);
}

TEST_CASE("a directory is not replaced, and nothing is left beside it")
{
    temporary_directory here;
    fs::create_directory(here / "d");
    const opened_root root(here);
    auto file = new_file::create(root.get(), "d", 0);
    REQUIRE(file.has_value());
    CHECK(file->commit(0644));
    CHECK(here.entry_count() == 1);
    CHECK(fs::is_directory(here / "d"));
}

TEST_CASE("a link at the end is replaced, one on the way refused")
{
    temporary_directory here;
    temporary_directory elsewhere;
    elsewhere.write("target", "safe");
    fs::create_symlink(elsewhere / "target", here / "link");
    fs::create_directory_symlink(elsewhere.path(), here / "out");
    const opened_root root(here);
    auto file = new_file::create(root.get(), "link", 0);
    REQUIRE(file.has_value());
    CHECK_FALSE(file->commit(0644));
    CHECK(fs::is_regular_file(fs::symlink_status(here / "link")));
    CHECK(elsewhere.read("target") == "safe");

    CHECK(new_file::create(root.get(), "out/new", 0).has_error());
    CHECK(open_beneath(root.get(), "out", false).has_error());
    bool made = false;
    CHECK(make_directory_beneath(root.get(), "out", made));
    CHECK(make_directory_beneath(root.get(), "out/new", made));
    CHECK(set_directory_permissions(root.get(), "out", 0700));
    CHECK(elsewhere.entry_count() == 1);
}

TEST_CASE("names that climb are refused")
{
    temporary_directory here;
    const opened_root root(here);
    for (const char* name : {"../x", "a/../../x", "/x", "a//x", "./x", "..", "", "a/"}) {
        INFO(name);
        CHECK(new_file::create(root.get(), name, 0).has_error());
        bool made = false;
        CHECK(make_directory_beneath(root.get(), name, made));
    }
    CHECK(here.entry_count() == 0);
}

TEST_CASE("directories are made once, and keep their permissions")
{
    temporary_directory here;
    const opened_root root(here);
    bool made = false;
    CHECK_FALSE(make_directory_beneath(root.get(), "a/b", made));
    CHECK(made);
    CHECK_FALSE(make_directory_beneath(root.get(), "a/b", made));
    CHECK_FALSE(made);
    CHECK_FALSE(set_directory_permissions(root.get(), "a/b", 0500));
    CHECK(permissions_of(here / "a/b") == 0500);
    here.write("file", "1");
    CHECK(make_directory_beneath(root.get(), "file", made));
}

TEST_CASE("a destination is made with those above it")
{
    temporary_directory here;
    CHECK(open_destination((here / "x/y/z").string()).has_value());
    CHECK(fs::is_directory(here / "x/y/z"));
    here.write("file", "1");
    CHECK(open_destination((here / "file").string()).has_error());
    CHECK(open_destination((here / "file/x").string()).has_error());
}

TEST_CASE("a source is read in pieces, and watched")
{
    temporary_directory here;
    here.write("f", "hello world");
    const auto file = source_file::open((here / "f").string());
    REQUIRE(file.has_value());
    CHECK(file->status().size == 11);
    std::string text(5, '\0');
    CHECK_FALSE(file->read(std::as_writable_bytes(std::span(text)), 6));
    CHECK(text == "world");
    CHECK_FALSE(file->check_unchanged());
    CHECK(file->read(std::as_writable_bytes(std::span(text)), 7) == errc::changed_underneath);
    fs::resize_file(here / "f", 3);
    CHECK(file->check_unchanged() == errc::changed_underneath);
    CHECK(file->read(std::as_writable_bytes(std::span(text)), 0) == errc::changed_underneath);
}

TEST_CASE("a source is a regular file")
{
    temporary_directory here;
    here.write("f", "1");
    fs::create_symlink("f", here / "link");
    REQUIRE(::mkfifo((here / "fifo").c_str(), 0600) == 0);
    CHECK(source_file::open((here / "link").string()).error() == boost::system::errc::too_many_symbolic_link_levels);
    CHECK(source_file::open((here / "fifo").string()).error() == errc::not_supported);
    CHECK(source_file::open(here.path().string()).error() == errc::not_supported);
    CHECK(source_file::open((here / "missing").string()).error() == boost::system::errc::no_such_file_or_directory);
}
