// Names and links that lead out of the tree.

#include "file_tree.hpp"
#include "supervised.hpp"
#include "support/catch.hpp"

#include <array>
#include <atomic>
#include <fcntl.h>
#include <filesystem>
#include <linux/fs.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

using namespace penstock;
using namespace penstock::storage;
using namespace penstock::storage::test;

namespace {

// The served tree lies beside a secret.
struct neighbourhood {
    neighbourhood()
    {
        around.make_directory("root/inside");
        around.make_directory("outside");
        around.write("outside/secret", "secret");
        around.write("root/inside/file", "inside");
        auto opened = file_store::open(around.path("root"));
        REQUIRE(opened.has_value());
        store = std::move(*opened);
    }
    file_tree around;
    std::unique_ptr<file_store> store;
};

} // namespace

TEST_CASE("a link that leaves the tree is not followed, by any operation")
{
    const neighbourhood at;
    const auto& store = *at.store;
    at.around.link("root/absolute", at.around.path("outside"));
    at.around.link("root/relative", "../outside");
    at.around.link("root/inside/deep", "../../outside");
    at.around.link("root/secret", "../outside/secret");
    at.around.link("root/back", "../root/inside"); // out and in again is out
    at.around.link("root/through", "inside/../../outside");
    at.around.link("root/loop", "loop");
    at.around.link("root/magic", "/proc/self/cwd");

    for (const auto* link : {"absolute", "relative", "inside/deep", "back", "through", "loop", "magic"}) {
        CAPTURE(link);
        const auto below = std::string(link) + "/secret";
        CHECK(store.open_read(link).error() == errc::outside_root);
        CHECK(store.open_read(below).error() == errc::outside_root);
        CHECK(store.stat(below).error() == errc::outside_root);
        CHECK(store.list(link, "", 65'536).error() == errc::outside_root);
        CHECK(at.store->put(below, 0644, durability::received, bytes("x")) == errc::outside_root);
        CHECK(at.store->put(std::string(link) + "/new", 0644, durability::persisted, bytes("x")) == errc::outside_root);
        CHECK(
            at.store->put(std::string(link) + "/d/new", 0644, durability::received, bytes("x")) == errc::outside_root);
        CHECK(at.store->create(below, 1, 0644).error() == errc::outside_root);
        CHECK(at.store->make_directory(std::string(link) + "/d") == errc::outside_root);
    }
    CHECK(store.open_read("secret").error() == errc::outside_root);
    CHECK(at.store->put("secret", 0644, durability::received, bytes("x")) == errc::outside_root);

    CHECK(at.around.read("outside/secret") == "secret");
    CHECK_FALSE(at.around.exists("outside/new"));
    CHECK_FALSE(at.around.exists("outside/d"));
    CHECK(store.list("", "", 65'536)->entries.size() == 1);
    CHECK(store.list("inside", "", 65'536)->entries.size() == 1);
}

TEST_CASE("a link that stays in the tree is followed")
{
    const neighbourhood at;
    at.around.make_directory("root/other");
    at.around.link("root/other/up", "../inside");
    at.around.link("root/alias", "inside/file");
    CHECK(content(*at.store, "other/up/file") == "inside");
    CHECK(content(*at.store, "alias") == "inside");
    REQUIRE_FALSE(at.store->put("other/up/new/file", 0644, durability::persisted, bytes("written")));
    CHECK(at.around.read("root/inside/new/file") == "written");
    const auto page = at.store->list("other", "", 65'536);
    REQUIRE(page->entries.size() == 1);
    CHECK(page->entries[0].info.kind == object_kind::directory);

    // A put replaces the link itself; what it named stays.
    REQUIRE_FALSE(at.store->put("alias", 0644, durability::received, bytes("new")));
    CHECK(at.around.read("root/inside/file") == "inside");
    CHECK(at.around.read("root/alias") == "new");

    at.around.link("root/dangling", "nowhere");
    CHECK(at.store->open_read("dangling").error() == errc::not_found);
    CHECK(at.store->put("dangling/x", 0644, durability::received, {}) == errc::not_directory);
    REQUIRE_FALSE(at.store->put("dangling", 0644, durability::received, bytes("now there")));
    CHECK_FALSE(at.around.exists("root/nowhere"));
}

TEST_CASE("a directory that turns into a link while it is walked leads nowhere")
{
    const neighbourhood at;
    at.around.make_directory("root/swap");
    at.around.write("root/swap/secret", "harmless");
    at.around.link("root/evil", "../outside");
    std::atomic<bool> stop{false};
    std::thread swapper([&] {
        const auto a = at.around.path("root/swap");
        const auto b = at.around.path("root/evil");
        while (!stop)
            ::syscall(SYS_renameat2, AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE);
    });
    std::size_t leaked = 0;
    std::size_t unexpected = 0;
    std::size_t inside = 0;
    std::size_t refused = 0;
    for (int round = 0; round != 4000; ++round) {
        const auto file = at.store->open_read("swap/secret");
        if (!file) {
            ++(file.error() == errc::outside_root || file.error() == errc::overloaded ? refused : unexpected);
        } else {
            std::string text(16, '\0');
            text.resize(*read_at(file->fd.get(), 0, std::as_writable_bytes(std::span(text))));
            ++(text == "harmless" ? inside : leaked);
        }
        if (round % 8 == 0) {
            static_cast<void>(at.store->put("swap/d/new", 0644, durability::received, bytes("x")));
            static_cast<void>(at.store->make_directory("swap/e/f"));
        }
    }
    stop = true;
    swapper.join();
    CHECK(leaked == 0);
    CHECK(unexpected == 0);
    CHECK(inside + refused == 4000);
    CHECK_FALSE(at.around.exists("outside/d"));
    CHECK_FALSE(at.around.exists("outside/e"));
}

TEST_CASE("a directory that turns into a link between two steps of making directories leads nowhere")
{
    const neighbourhood at;
    at.around.make_directory("root/swap");
    constexpr std::array<int, 2> calls{SYS_mkdir, SYS_mkdirat};
    for (const int last_step : {0, 1}) {
        CAPTURE(last_step);
        int step = 0;
        error_code failure;
        supervised(
            calls,
            [&](const system_call&) {
                if (step++ == last_step) {
                    std::filesystem::rename(at.around.path("root/swap"), at.around.path("root/aside"));
                    at.around.link("root/swap", "../outside");
                }
                return 0;
            },
            [&] { failure = at.store->put("swap/d/e/new", 0644, durability::received, bytes("x")); });
        CHECK(step > last_step);
        // Before the directory is entered the link is seen; after it the store is in the one that was moved aside.
        if (last_step == 0)
            CHECK(failure == errc::outside_root);
        CHECK_FALSE(at.around.exists("outside/d"));
        std::filesystem::remove(at.around.path("root/swap"));
        std::filesystem::rename(at.around.path("root/aside"), at.around.path("root/swap"));
    }
}
