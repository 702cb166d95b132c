#include "file_tree.hpp"
#include "supervised.hpp"
#include "support/catch.hpp"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <fstream>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

using namespace penstock;
using namespace penstock::storage;
using namespace penstock::storage::test;

namespace {

constexpr std::array<int, 1> calls_fallocate{SYS_fallocate};
constexpr std::array<int, 1> calls_pwrite{SYS_pwrite64};
constexpr std::array<int, 2> calls_sync{SYS_fsync, SYS_fdatasync};
constexpr std::array<int, 3> calls_commit{SYS_fsync, SYS_fdatasync, SYS_renameat};

// Fails the n-th call (from 0) with `error`, and lets the others happen.
decision fail_nth(int n, int error)
{
    return [n, error, count = 0](const system_call&) mutable { return count++ == n ? error : 0; };
}

decision fail_all(int error)
{
    return [error](const system_call&) { return error; };
}

// A mount namespace: as root at once, else inside a user namespace in which this user is root. Both may be forbidden.
bool enter_mount_namespace()
{
    const auto map = [](const char* file, unsigned id) { std::ofstream(file) << "0 " << id << " 1"; };
    const auto user = ::getuid();
    const auto group = ::getgid();
    if (::unshare(CLONE_NEWNS) != 0) {
        if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
            return false;
        std::ofstream("/proc/self/setgroups") << "deny";
        map("/proc/self/uid_map", user);
        map("/proc/self/gid_map", group);
    }
    return ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

bool is_staged(const std::string& file)
{
    return file.find("/.penstock-staging/") != std::string::npos;
}

} // namespace

TEST_CASE("a full disk shows when an object is created")
{
    const file_tree tree;
    const auto store = open_store(tree);
    const std::array<std::pair<int, errc>, 5> cases{{{ENOSPC, errc::no_space}, {EDQUOT, errc::no_space},
        {EFBIG, errc::no_space}, {EIO, errc::remote_io_error}, {EROFS, errc::permission_denied}}};
    for (const auto& [error, expected] : cases) {
        CAPTURE(error);
        error_code failure;
        supervised(calls_fallocate, fail_all(error), [&] { failure = store->create("x", 1'000'000, 0644).error(); });
        CHECK(failure == expected);
        CHECK(tree.staged_files() == 0);
    }
}

TEST_CASE("a file system that cannot reserve space is written without")
{
    const file_tree tree;
    const auto store = open_store(tree);
    for (const auto& outcome : {fail_all(EOPNOTSUPP), fail_nth(0, EINTR)}) {
        error_code failure = errc::wrong_state;
        supervised(calls_fallocate, outcome, [&] {
            auto object = store->create("x", 4, 0644);
            failure = object ? object->write_at(0, bytes("1234")) : object.error();
            if (!failure)
                failure = store->commit(std::move(*object), durability::received);
        });
        CHECK_FALSE(failure);
        CHECK(tree.read("x") == "1234");
    }
}

TEST_CASE("a disk that fills up or fails under a write leaves the old object")
{
    const file_tree tree;
    const auto store = open_store(tree);
    tree.write("x", "old");
    for (const auto& [error, expected] : {std::pair{ENOSPC, errc::no_space}, std::pair{EIO, errc::remote_io_error}}) {
        error_code failure;
        supervised(calls_pwrite, fail_all(error),
            [&] { failure = store->put("x", 0644, durability::received, bytes("new content")); });
        CHECK(failure == expected);
        CHECK(tree.read("x") == "old");
        CHECK(tree.staged_files() == 0);
    }
    error_code failure;
    supervised(calls_pwrite, fail_nth(0, EINTR),
        [&] { failure = store->put("x", 0644, durability::received, bytes("new content")); });
    CHECK_FALSE(failure);
    CHECK(tree.read("x") == "new content");
}

TEST_CASE("persisted syncs the file, then names it, then syncs the directories up to the root")
{
    const file_tree tree;
    const auto store = open_store(tree);
    std::vector<std::string> trace;
    const auto put = [&](const char* name, durability promise) {
        trace.clear();
        error_code failure;
        const auto note = [&](const system_call& call) {
            if (call.number == SYS_renameat)
                trace.emplace_back("rename");
            else
                trace.push_back(is_staged(call.file) ? "sync file" : "sync " + call.file.substr(tree.path().size()));
            return 0;
        };
        supervised(calls_commit, note, [&] { failure = store->put(name, 0644, promise, bytes("x")); });
        CHECK_FALSE(failure);
        return trace;
    };
    using steps = std::vector<std::string>;
    CHECK(put("top", durability::received) == steps{"rename"});
    CHECK(put("top", durability::persisted) == steps{"sync file", "rename", "sync "});
    CHECK(put("a/b/x", durability::received) == steps{"rename"});
    // The directories were made without a sync: the first promise pays for them, the next does not.
    CHECK(put("a/b/y", durability::persisted) == steps{"sync file", "rename", "sync /a/b", "sync /a", "sync "});
    CHECK(put("a/b/z", durability::persisted) == steps{"sync file", "rename", "sync /a/b"});
    CHECK(put("a/c/x", durability::persisted) == steps{"sync file", "rename", "sync /a/c", "sync /a"});
    // Made anew: nothing is known of it. (Whether the inode number comes again is up to the file system.)
    REQUIRE(::unlink(tree.path("a/c/x").c_str()) == 0);
    REQUIRE(::rmdir(tree.path("a/c").c_str()) == 0);
    CHECK(put("a/c/x", durability::persisted) == steps{"sync file", "rename", "sync /a/c", "sync /a"});
}

TEST_CASE("a file that cannot be synced is not named")
{
    const file_tree tree;
    const auto store = open_store(tree);
    tree.write("x", "old");
    error_code failure;
    supervised(
        calls_sync, fail_nth(0, EIO), [&] { failure = store->put("x", 0644, durability::persisted, bytes("new")); });
    CHECK(failure == errc::remote_io_error);
    CHECK(tree.read("x") == "old");
    CHECK(tree.staged_files() == 0);
}

TEST_CASE("a directory that cannot be synced breaks the promise")
{
    const file_tree tree;
    const auto store = open_store(tree);
    error_code failure;
    supervised(
        calls_sync, fail_nth(1, EIO), [&] { failure = store->put("x", 0644, durability::persisted, bytes("new")); });
    CHECK(failure == errc::remote_io_error);
    CHECK(tree.read("x") == "new"); // visible, and its writer was told that this is all
    CHECK(tree.staged_files() == 0);

    // An ancestor that failed is not remembered as durable.
    supervised(
        calls_sync, fail_nth(2, EIO), [&] { failure = store->put("a/x", 0644, durability::persisted, bytes("new")); });
    CHECK(failure == errc::remote_io_error);
    supervised(
        calls_sync, fail_nth(2, EIO), [&] { failure = store->put("a/x", 0644, durability::persisted, bytes("new")); });
    CHECK(failure == errc::remote_io_error);
}

TEST_CASE("until the rename a reader has the old object, after it the new one")
{
    const file_tree tree;
    const auto store = open_store(tree);
    tree.write("x", "old");
    std::string during;
    error_code failure;
    constexpr std::array<int, 1> calls{SYS_renameat};
    supervised(
        calls,
        [&](const system_call&) {
            during = content(*store, "x");
            return 0;
        },
        [&] { failure = store->put("x", 0644, durability::received, bytes("new")); });
    CHECK_FALSE(failure);
    CHECK(during == "old");
    CHECK(content(*store, "x") == "new");

    for (const auto& [error, expected] : {std::pair{EXDEV, errc::not_supported}, std::pair{ENOSPC, errc::no_space},
             std::pair{EISDIR, errc::is_directory}}) {
        supervised(
            calls, fail_all(error), [&] { failure = store->put("x", 0644, durability::received, bytes("3rd")); });
        CHECK(failure == expected);
        CHECK(content(*store, "x") == "new");
        CHECK(tree.staged_files() == 0);
    }
}

TEST_CASE("a server that dies at any step of a commit leaves the old or the new object")
{
    const file_tree tree;
    tree.write("x", "old");
    constexpr std::array<int, 5> calls{SYS_fallocate, SYS_pwrite64, SYS_fchmod, SYS_fsync, SYS_renameat};
    bool finished = false;
    for (int step = 0; !finished; ++step) {
        REQUIRE(step < 100);
        const auto said = in_child([&](const auto& die) -> std::string {
            const auto store = open_store(tree);
            int count = 0;
            supervised(
                calls,
                [&](const system_call&) {
                    if (count++ == step)
                        die("died");
                    return 0;
                },
                [&] { static_cast<void>(store->put("x", 0644, durability::persisted, bytes("new"))); });
            return "finished";
        });
        finished = said == "finished";
        const auto now = tree.read("x");
        CHECK((now == "old" || now == "new"));
        open_store(tree);
        CHECK(tree.staged_files() == 0);
    }
    CHECK(tree.read("x") == "new");
}

TEST_CASE("a rename storm ends in overloaded, a short one is waited out")
{
    const file_tree tree;
    tree.write("x", "content");
    const auto store = open_store(tree);
    constexpr std::array<int, 1> calls{SYS_openat2};
    int tries = 0;
    error_code failure;
    supervised(
        calls, [&](const system_call&) { return ++tries, EAGAIN; }, [&] { failure = store->stat("x").error(); });
    CHECK(failure == errc::overloaded);
    CHECK(tries == 16);
    supervised(calls, fail_nth(0, EAGAIN), [&] { failure = store->stat("x").error(); });
    CHECK_FALSE(failure);
    for (const auto& [error, expected] : {std::pair{EXDEV, errc::outside_root}, std::pair{ELOOP, errc::outside_root},
             std::pair{ENAMETOOLONG, errc::name_invalid}, std::pair{EMFILE, errc::overloaded},
             std::pair{EIO, errc::remote_io_error}, std::pair{ESTALE, errc::remote_io_error}}) {
        supervised(calls, fail_all(error), [&] { failure = store->open_read("x").error(); });
        CHECK(failure == expected);
    }
    supervised(calls, fail_all(ENOSYS), [&] { failure = file_store::open(tree.path()).error(); });
    CHECK(failure == make_system_error(ENOSYS));
}

TEST_CASE("what the page cache does not have would block")
{
    const file_tree tree;
    tree.write("x", "0123456789");
    const auto store = open_store(tree);
    const auto file = store->open_read("x");
    constexpr std::array<int, 2> calls{SYS_preadv2, SYS_pread64};
    std::array<std::byte, 10> into{};
    for (const int error : {EAGAIN, EOPNOTSUPP}) {
        cached_read read{1, true};
        supervised(calls, fail_all(error), [&] { read = *try_read_cached(file->fd.get(), 0, into); });
        CHECK(read.bytes == 0);
        CHECK_FALSE(read.complete);
    }
    error_code failure;
    supervised(calls, fail_all(EIO), [&] { failure = try_read_cached(file->fd.get(), 0, into).error(); });
    CHECK(failure == errc::remote_io_error);
    supervised(calls, fail_all(EIO), [&] { failure = read_at(file->fd.get(), 0, into).error(); });
    CHECK(failure == errc::remote_io_error);
    std::size_t got = 0;
    supervised(calls, fail_nth(0, EINTR), [&] { got = *read_at(file->fd.get(), 0, into); });
    CHECK(got == 10);
}

TEST_CASE("a read-only file system is served for reading")
{
    const file_tree tree;
    tree.write("x", "content");
    constexpr std::array<int, 2> calls{SYS_mkdir, SYS_mkdirat};
    for (const int error : {EROFS, EACCES, EPERM}) {
        bool read_only = false;
        supervised(calls, fail_all(error), [&] { read_only = open_store(tree)->read_only(); });
        CHECK(read_only);
    }
    error_code failure;
    supervised(calls, fail_all(EIO), [&] { failure = file_store::open(tree.path()).error(); });
    CHECK(failure == make_system_error(EIO));
}

TEST_CASE("a real full file system")
{
    const file_tree tree;
    const auto said = in_child([&]() -> std::string {
        if (!enter_mount_namespace())
            return "no namespace";
        if (::mount("tmpfs", tree.path().c_str(), "tmpfs", 0, "size=1M") != 0)
            return "no mount";
        const auto store = open_store(tree);
        const std::string big(600'000, 'x');
        if (store->put("first", 0644, durability::persisted, bytes(big)))
            return "first failed";
        if (store->create("second", big.size(), 0644).error() != errc::no_space)
            return "create had space";
        if (store->put("second", 0644, durability::received, bytes(big)) != errc::no_space)
            return "put had space";
        if (tree.staged_files() != 0)
            return "left something behind";
        return store->put("small", 0644, durability::received, bytes("x")) ? "small failed" : "full";
    });
    if (said == "no namespace" || said == "no mount")
        WARN("no tmpfs could be mounted here (" + said + "): a full disk was tried with injected errors only");
    else
        CHECK(said == "full");
}
