#include "file_tree.hpp"
#include "support/catch.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

using namespace penstock;
using namespace penstock::storage;
using namespace penstock::storage::test;

namespace {

errc error_of(const error_code& failure)
{
    REQUIRE(failure);
    REQUIRE(failure.category() == penstock_category());
    return static_cast<errc>(failure.value());
}

} // namespace

TEST_CASE("a store reads the files of its tree")
{
    const file_tree tree;
    tree.make_directory("a/b");
    tree.write("a/b/file", "0123456789");
    tree.write("empty", "");
    ::chmod(tree.path("a/b/file").c_str(), 06640);
    const timespec times[2]{{0, UTIME_OMIT}, {1'700'000'000, 123'456'789}};
    REQUIRE(::utimensat(AT_FDCWD, tree.path("a/b/file").c_str(), times, 0) == 0);
    const auto store = open_store(tree);
    CHECK_FALSE(store->read_only());

    const auto file = store->open_read("a/b/file");
    REQUIRE(file.has_value());
    CHECK(file->info == object_info{object_kind::file, 10, 0640, 1'700'000'000'123'456'789});
    CHECK(store->stat("a/b/file")->info == file->info);
    CHECK(store->stat("a/b/file")->identity == file->identity);
    CHECK(content(*store, "a/b/file") == "0123456789");
    CHECK(content(*store, "empty").empty());
    CHECK(store->stat("a")->info.kind == object_kind::directory);
    CHECK(store->stat("")->info.kind == object_kind::directory);
    CHECK(store->open_read("a")->info.kind == object_kind::directory);

    CHECK(error_of(store->open_read("none").error()) == errc::not_found);
    CHECK(error_of(store->open_read("a/b/file/x").error()) == errc::not_directory);
    CHECK(error_of(store->stat("none/x").error()) == errc::not_found);
}

TEST_CASE("read_at reads to the end of the file and no further")
{
    const file_tree tree;
    tree.write("file", "0123456789");
    const auto store = open_store(tree);
    const auto file = store->open_read("file");
    REQUIRE(file.has_value());
    const int fd = file->fd.get();
    std::array<std::byte, 16> into{};
    CHECK(*read_at(fd, 0, into) == 10);
    CHECK(*read_at(fd, 8, into) == 2);
    CHECK(into[0] == std::byte{'8'});
    CHECK(*read_at(fd, 10, into) == 0);
    CHECK(*read_at(fd, 1'000'000, into) == 0);
    CHECK(*read_at(fd, 3, std::span(into).first(4)) == 4);
    CHECK(*read_at(fd, 3, {}) == 0);
    CHECK(*read_at(fd, INT64_MAX - 16, into) == 0);
    CHECK(error_of(read_at(fd, INT64_MAX - 15, into).error()) == errc::out_of_range);
    CHECK(error_of(read_at(fd, UINT64_MAX, into).error()) == errc::out_of_range);
    CHECK(error_of(read_at(store->open_read("")->fd.get(), 0, into).error()) == errc::is_directory);

    // Just written: the page cache has it, and says so unless this is a file system that cannot tell, as tmpfs.
    iovec one{into.data(), into.size()};
    const bool can_tell = ::preadv2(fd, &one, 1, 0, RWF_NOWAIT) == 10;
    const auto cached = try_read_cached(fd, 4, into);
    REQUIRE(cached.has_value());
    CHECK(cached->bytes == (can_tell ? 6 : 0));
    CHECK(cached->complete == can_tell);
    CHECK(try_read_cached(fd, 10, into)->complete == can_tell);
    CHECK(error_of(try_read_cached(fd, UINT64_MAX, into).error()) == errc::out_of_range);
}

TEST_CASE("a file that is not the same any more is told")
{
    const file_tree tree;
    tree.write("file", "old");
    const auto store = open_store(tree);
    const auto file = store->open_read("file");
    REQUIRE(file.has_value());
    CHECK_FALSE(changed(file->identity, file->fd.get()));

    SECTION("replaced")
    {
        REQUIRE_FALSE(store->put("file", 0644, durability::received, bytes("new")));
        const auto now = store->open_read("file");
        CHECK(changed(file->identity, now->fd.get()));
        CHECK(now->identity != file->identity);
    }
    SECTION("grown")
    {
        tree.write("file", "longer");
        CHECK(changed(file->identity, file->fd.get()));
    }
    SECTION("rewritten in place, at another time")
    {
        tree.write("file", "odd");
        const timespec times[2]{{0, UTIME_OMIT}, {1, 0}};
        REQUIRE(::utimensat(AT_FDCWD, tree.path("file").c_str(), times, 0) == 0);
        CHECK(changed(file->identity, file->fd.get()));
    }
    SECTION("closed")
    {
        CHECK(changed(file->identity, -1));
    }
}

TEST_CASE("times that nanoseconds cannot say become the nearest that they can")
{
    struct ::stat raw {};
    raw.st_mode = S_IFREG;
    raw.st_mtim = {INT64_MAX, 999'999'999};
    CHECK(status_of(raw)->info.modified_ns == INT64_MAX);
    raw.st_mtim = {INT64_MIN, 0};
    CHECK(status_of(raw)->info.modified_ns == INT64_MIN);
    raw.st_mtim = {-1, 999'999'999};
    CHECK(status_of(raw)->info.modified_ns == -1);
}

TEST_CASE("what is neither file nor directory is refused at once")
{
    const file_tree tree;
    REQUIRE(::mkfifo(tree.path("fifo").c_str(), 0666) == 0);
    const unique_fd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    tree.path("socket").copy(address.sun_path, sizeof address.sun_path - 1);
    REQUIRE(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    const auto store = open_store(tree);
    for (const auto* name : {"fifo", "socket"}) {
        CAPTURE(name);
        CHECK(error_of(store->open_read(name).error()) == errc::permission_denied);
        CHECK(error_of(store->stat(name).error()) == errc::permission_denied);
        CHECK(error_of(store->put(name, 0644, durability::received, {})) == errc::permission_denied);
        CHECK(error_of(store->make_directory(name)) == errc::already_exists);
    }
    CHECK(store->list("", "", 65'536)->entries.empty());
}

TEST_CASE("a root that cannot be served is the operator's error")
{
    const file_tree tree;
    tree.write("file", "");
    CHECK(file_store::open(tree.path("none")).error() == make_system_error(ENOENT));
    CHECK(file_store::open(tree.path("file")).error() == make_system_error(ENOTDIR));
    tree.make_directory("closed");
    ::chmod(tree.path("closed").c_str(), 0700);
    if (::geteuid() != 0)
        ::chmod(tree.path("closed").c_str(), 0);
    CHECK(in_child([&] {
        become_nobody();
        return file_store::open(tree.path("closed")).error() == make_system_error(EACCES) ? "refused" : "opened";
    }) == "refused");
    ::chmod(tree.path("closed").c_str(), 0700);
    // A file in the way of the staging directory is not silently a read-only store.
    tree.make_directory("odd");
    tree.write("odd/.penstock-staging", "");
    CHECK(file_store::open(tree.path("odd")).error() == make_system_error(ENOTDIR));
}

TEST_CASE("a tree has one server")
{
    const file_tree tree;
    auto first = open_store(tree);
    CHECK(error_of(file_store::open(tree.path()).error()) == errc::wrong_state);
    CHECK(in_child([&] { return file_store::open(tree.path()).error() == errc::wrong_state ? "refused" : "opened"; })
        == "refused");

    auto object = first->create("x", 0, 0644);
    REQUIRE(object.has_value());
    first.reset();
    // Its unfinished objects still use the staging directory.
    CHECK(error_of(file_store::open(tree.path()).error()) == errc::wrong_state);
    *object = staged_file();
    CHECK(file_store::open(tree.path()).has_value());
}

TEST_CASE("what a crashed server left is removed by the next")
{
    const file_tree tree;
    CHECK(in_child([&] {
        const auto store = open_store(tree);
        auto object = store->create("x", 100'000, 0644);
        if (!object || object->write_at(0, bytes("half")))
            return std::string("failed");
        const auto count = std::to_string(tree.staged_files());
        static_cast<void>(new staged_file(std::move(*object))); // the child ends as it stands
        return count;
    }) == "1");
    CHECK(tree.staged_files() == 1);
    const auto store = open_store(tree);
    CHECK(tree.staged_files() == 0);
    CHECK_FALSE(tree.exists("x"));
    struct ::stat staging {};
    REQUIRE(::stat(tree.path(".penstock-staging").c_str(), &staging) == 0);
    CHECK((staging.st_mode & 07777) == 0700);
}

TEST_CASE("a tree that may not be written is served for reading")
{
    const file_tree tree;
    tree.write("file", "content");
    ::chmod(tree.path().c_str(), 0555);
    const auto said = in_child([&]() -> std::string {
        become_nobody();
        const auto store = open_store(tree);
        if (!store->read_only() || store->stat("file")->info.size != 7)
            return "not read-only";
        if (store->put("x", 0644, durability::received, {}) != errc::permission_denied
            || store->create("x", 1, 0644).error() != errc::permission_denied
            || store->make_directory("d") != errc::permission_denied)
            return "written";
        return store->list("", "", 65'536)->entries.size() == 1 ? "served" : "not listed";
    });
    ::chmod(tree.path().c_str(), 0755);
    CHECK(said == "served");
}

TEST_CASE("what the server's user may not do is denied")
{
    const file_tree tree;
    tree.make_directory("closed");
    tree.write("closed/file", "content");
    tree.write("secret", "content");
    tree.make_directory("frozen");
    const auto store = open_store(tree);
    ::chmod(tree.path("closed").c_str(), 0);
    ::chmod(tree.path("secret").c_str(), 0);
    ::chmod(tree.path("frozen").c_str(), 0555);
    ::chmod(tree.path(".penstock-staging").c_str(), 0777); // the child is another user
    const auto said = in_child([&]() -> std::string {
        become_nobody();
        if (store->open_read("secret").error() != errc::permission_denied)
            return "secret read";
        if (!store->stat("secret").has_value())
            return "secret without status";
        if (store->open_read("closed/file").error() != errc::permission_denied
            || store->stat("closed/file").error() != errc::permission_denied
            || store->list("closed", "", 65'536).error() != errc::permission_denied)
            return "closed entered";
        if (store->put("frozen/x", 0644, durability::received, bytes("x")) != errc::permission_denied
            || store->put("frozen/d/x", 0644, durability::received, bytes("x")) != errc::permission_denied
            || store->make_directory("frozen/d") != errc::permission_denied)
            return "frozen written";
        return tree.staged_files() == 0 ? "denied" : "left something behind";
    });
    ::chmod(tree.path("closed").c_str(), 0755);
    CHECK(said == "denied");
}
