#include "penstock/tree_walk.hpp"
#include "temporary_directory.hpp"

#include <algorithm>

#include <sys/stat.h>

using namespace penstock::command;
namespace fs = std::filesystem;

namespace {

std::vector<std::string> names_of(const put_plan& plan)
{
    std::vector<std::string> names;
    for (const auto& file : plan.files) {
        names.push_back(file.name);
    }
    return names;
}

using names = std::vector<std::string>;

} // namespace

TEST_CASE("a tree is planned in order, with its empty directories")
{
    temporary_directory here;
    here.write("tree/b", "12345");
    here.write("tree/a b/\xc3\xa9\n", "1");
    here.write("tree/a", "");
    fs::create_directories(here / "tree/empty/inner");
    const auto plan = walk_trees({{(here / "tree").string(), "top"}}, false);
    CHECK(names_of(plan) == names{"top/a", "top/a b/\xc3\xa9\n", "top/b"});
    CHECK(plan.empty_directories == names{"top/empty/inner"});
    CHECK(plan.directories == 4);
    CHECK(plan.bytes == 6);
    CHECK(plan.failed.empty());
    CHECK(plan.skipped.empty());
}

TEST_CASE("contents of a tree without a name of its own")
{
    temporary_directory here;
    here.write("tree/a", "1");
    const auto plan = walk_trees({{(here / "tree").string(), ""}}, false);
    CHECK(names_of(plan) == names{"a"});
}

TEST_CASE("links and special files are skipped and counted")
{
    temporary_directory here;
    here.write("tree/a", "1");
    fs::create_symlink("a", here / "tree/link");
    fs::create_directory_symlink("..", here / "tree/up");
    REQUIRE(::mkfifo((here / "tree/fifo").c_str(), 0600) == 0);
    const auto plan = walk_trees({{(here / "tree").string(), "t"}}, false);
    CHECK(names_of(plan) == names{"t/a"});
    CHECK(plan.links_skipped == 2);
    CHECK(plan.others_skipped == 1);
    CHECK(plan.skipped.size() == 3);
}

TEST_CASE("followed links stay inside the tree")
{
    temporary_directory here;
    here.write("outside", "secret");
    here.write("tree/sub/a", "1");
    fs::create_symlink("sub/a", here / "tree/inside");
    fs::create_directory_symlink("sub", here / "tree/sub-link");
    fs::create_symlink("../outside", here / "tree/leaves");
    fs::create_symlink("nowhere", here / "tree/broken");
    fs::create_directory_symlink("..", here / "tree/sub/loop");
    const auto plan = walk_trees({{(here / "tree").string(), "t"}}, true);
    CHECK(names_of(plan) == names{"t/inside", "t/sub/a", "t/sub-link/a"});
    CHECK(plan.links_skipped == 4); // the loop is met twice: in sub and in sub-link
    const auto count = [&](skip_reason reason) {
        return std::count_if(
            plan.skipped.begin(), plan.skipped.end(), [&](const auto& entry) { return entry.reason == reason; });
    };
    CHECK(count(skip_reason::link_outside) == 1);
    CHECK(count(skip_reason::link_broken) == 1);
    CHECK(count(skip_reason::link_loop) == 2);
}

TEST_CASE("a link that the user names is followed")
{
    temporary_directory here;
    here.write("file", "12");
    here.write("tree/a", "1");
    fs::create_symlink("file", here / "link");
    fs::create_directory_symlink("tree", here / "tree-link");
    const auto plan = walk_trees({{(here / "link").string(), "f"}, {(here / "tree-link").string(), "t"}}, false);
    CHECK(names_of(plan) == names{"f", "t/a"});
    CHECK(fs::path(plan.files.front().path).filename() == "file");
}

TEST_CASE("what cannot be read, or stored, is an error of its own")
{
    temporary_directory here;
    here.write("tree/.penstock/a", "1");
    here.write("tree/b", "1");
    const auto plan = walk_trees({{(here / "missing").string(), "m"}, {(here / "tree").string(), ""}}, false);
    CHECK(names_of(plan) == names{"b"});
    REQUIRE(plan.failed.size() == 2);
    CHECK(plan.failed[0].error == boost::system::errc::no_such_file_or_directory);
    CHECK(plan.failed[1].error == penstock::errc::name_invalid);
}

TEST_CASE("a single file needs a name")
{
    temporary_directory here;
    here.write("a", "1");
    CHECK(walk_trees({{(here / "a").string(), ""}}, false).failed.size() == 1);
    CHECK(names_of(walk_trees({{(here / "a").string(), "n"}}, false)) == names{"n"});
}
