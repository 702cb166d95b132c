#include "file_tree.hpp"
#include "support/catch.hpp"

#include <penstock/core/random.hpp>

#include <sys/stat.h>
#include <thread>
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

TEST_CASE("put stores an object, with the directories above it")
{
    const file_tree tree;
    const auto store = open_store(tree);
    for (const auto promise : {durability::received, durability::persisted}) {
        REQUIRE_FALSE(store->put("a/b/c", 0640, promise, bytes("first")));
        CHECK(tree.read("a/b/c") == "first");
        REQUIRE_FALSE(store->put("a/b/c", 0600, promise, bytes("second")));
        CHECK(tree.read("a/b/c") == "second");
        CHECK(store->stat("a/b/c")->info.permissions == 0600);
        REQUIRE_FALSE(store->put("d1/d2/empty", 0644, promise, {}));
        CHECK(store->stat("d1/d2/empty")->info.size == 0);
        CHECK(tree.staged_files() == 0);
        REQUIRE_FALSE(store->put("top", 0644, promise, bytes("x")));
    }
}

TEST_CASE("permissions are those asked for, whatever the umask")
{
    const file_tree tree;
    const auto store = open_store(tree);
    const auto before = ::umask(077);
    const auto failure = store->put("open", 0666, durability::received, {});
    const auto masked = store->put("masked", 07777, durability::received, {});
    ::umask(before);
    REQUIRE_FALSE(failure);
    REQUIRE_FALSE(masked);
    struct ::stat raw {};
    REQUIRE(::stat(tree.path("open").c_str(), &raw) == 0);
    CHECK((raw.st_mode & 07777) == 0666);
    REQUIRE(::stat(tree.path("masked").c_str(), &raw) == 0);
    CHECK((raw.st_mode & 07777) == 0777);
    REQUIRE_FALSE(store->put("none", 0, durability::persisted, bytes("x")));
    CHECK(store->stat("none")->info.permissions == 0);
}

TEST_CASE("any name that the rules allow can be stored")
{
    const file_tree tree;
    const auto store = open_store(tree);
    const std::string component(component_bytes_max, 'c');
    std::string deep;
    for (int i = 0; i != 14; ++i)
        deep += std::string(component_bytes_max, 'e') + '/';
    deep += "leaf";
    for (const std::string& name : {std::string(" with spaces "), std::string("\xc3\xa9\xe4\xb8\xad/\xf0\x9f\x98\x80"),
             std::string("\xff\xfe\x80 not UTF-8"), std::string("new\nline"), std::string("-rf *"), component, deep}) {
        CAPTURE(name);
        REQUIRE_FALSE(store->put(name, 0644, durability::persisted, bytes(name)));
        CHECK(content(*store, name) == name);
        CHECK(tree.read(name) == name);
    }
    const std::string longest = std::string(name_bytes_max - 1, 'x') + "/";
    for (const std::string& name : {component + 'c', longest, std::string("a/../b"), std::string("/etc/x"),
             std::string(".penstock-staging/x"), std::string("a\0b", 3)}) {
        CAPTURE(name);
        CHECK(error_of(store->put(name, 0644, durability::received, {})) == errc::name_invalid);
        CHECK(error_of(store->create(name, 0, 0644).error()) == errc::name_invalid);
        CHECK(error_of(store->make_directory(name)) == errc::name_invalid);
        CHECK(error_of(store->open_read(name).error()) == errc::name_invalid);
        CHECK(error_of(store->stat(name).error()) == errc::name_invalid);
        CHECK(error_of(store->list(name, "", 65'536).error()) == errc::name_invalid);
    }
    CHECK(error_of(store->put("", 0644, durability::received, {})) == errc::is_directory);
    CHECK(tree.staged_files() == 0);
}

TEST_CASE("an object is written in any order and appears at its commit")
{
    const file_tree tree;
    const auto store = open_store(tree);
    tree.write("x", "old");
    auto object = store->create("x", 10, 0644);
    REQUIRE(object.has_value());
    CHECK(object->size() == 10);
    CHECK(object->name() == "x");
    REQUIRE_FALSE(object->write_at(7, bytes("789")));
    REQUIRE_FALSE(object->write_at(0, bytes("0123")));
    CHECK(error_of(object->write_at(8, bytes("xxx"))) == errc::out_of_range);
    CHECK(error_of(object->write_at(11, {})) == errc::out_of_range);
    CHECK(error_of(object->write_at(UINT64_MAX, bytes("x"))) == errc::out_of_range);
    CHECK(tree.read("x") == "old");
    REQUIRE_FALSE(object->write_at(3, bytes("3456")));
    REQUIRE_FALSE(store->commit(std::move(*object), durability::persisted));
    CHECK(tree.read("x") == "0123456789");
    CHECK(tree.staged_files() == 0);
}

TEST_CASE("an object with a gap is not committed")
{
    const file_tree tree;
    const auto store = open_store(tree);
    tree.write("x", "old");
    auto object = store->create("x", 10, 0644);
    REQUIRE(object.has_value());
    SECTION("in the middle")
    {
        REQUIRE_FALSE(object->write_at(0, bytes("0123")));
        REQUIRE_FALSE(object->write_at(5, bytes("56789")));
    }
    SECTION("at the start")
    {
        REQUIRE_FALSE(object->write_at(1, bytes("123456789")));
    }
    SECTION("at the end")
    {
        REQUIRE_FALSE(object->write_at(0, bytes("012345678")));
    }
    SECTION("everywhere") {}
    CHECK(error_of(store->commit(std::move(*object), durability::received)) == errc::wrong_state);
    CHECK(tree.read("x") == "old");
    CHECK(tree.staged_files() == 0);
    CHECK(error_of(store->commit(staged_file(), durability::received)) == errc::wrong_state);
}

TEST_CASE("a dropped object leaves nothing")
{
    const file_tree tree;
    const auto store = open_store(tree);
    {
        auto object = store->create("d/x", 1'000'000, 0644);
        REQUIRE(object.has_value());
        CHECK(tree.staged_files() == 1);
        struct ::stat raw {};
        CHECK(::stat(tree.path("d").c_str(), &raw) != 0);
    }
    CHECK(tree.staged_files() == 0);
    CHECK_FALSE(tree.exists("d"));
}

TEST_CASE("a directory is not replaced by an object, nor entered where a file is")
{
    const file_tree tree;
    const auto store = open_store(tree);
    tree.make_directory("d");
    tree.write("f", "file");
    tree.link("to-d", "d");
    CHECK(error_of(store->put("d", 0644, durability::received, {})) == errc::is_directory);
    CHECK(error_of(store->create("to-d", 1, 0644).error()) == errc::is_directory);
    CHECK(error_of(store->put("f/x", 0644, durability::received, {})) == errc::not_directory);
    CHECK(error_of(store->put("f/x/y", 0644, durability::received, {})) == errc::not_directory);

    auto object = store->create("late", 0, 0644);
    REQUIRE(object.has_value());
    tree.make_directory("late");
    CHECK(error_of(store->commit(std::move(*object), durability::received)) == errc::is_directory);
    CHECK(tree.read("f") == "file");
    CHECK(tree.staged_files() == 0);
}

TEST_CASE("make_directory makes what is missing")
{
    const file_tree tree;
    const auto store = open_store(tree);
    REQUIRE_FALSE(store->make_directory("a/b/c"));
    CHECK(store->stat("a/b/c")->info.kind == object_kind::directory);
    CHECK_FALSE(store->make_directory("a/b/c"));
    CHECK_FALSE(store->make_directory("a/b"));
    CHECK_FALSE(store->make_directory(""));
    tree.write("f", "");
    CHECK(error_of(store->make_directory("f")) == errc::already_exists);
    CHECK(error_of(store->make_directory("f/x")) == errc::not_directory);
    CHECK(error_of(store->make_directory("f/x/y")) == errc::not_directory);

    std::string deep; // as deep as a name can be: a walk, not a walk for each step
    while (deep.size() + 2 < name_bytes_max / 2)
        deep += "d/";
    deep += "d";
    REQUIRE_FALSE(store->make_directory(deep));
    CHECK(store->stat(deep)->info.kind == object_kind::directory);
}

TEST_CASE("a reader keeps the object that it opened")
{
    const file_tree tree;
    const auto store = open_store(tree);
    REQUIRE_FALSE(store->put("x", 0644, durability::received, bytes("old content")));
    const auto before = store->open_read("x");
    REQUIRE_FALSE(store->put("x", 0644, durability::received, bytes("new")));
    std::string text(32, '\0');
    text.resize(*read_at(before->fd.get(), 0, std::as_writable_bytes(std::span(text))));
    CHECK(text == "old content");
    CHECK(content(*store, "x") == "new");
}

TEST_CASE("writers of one name never mix, writers of many do not meet")
{
    const file_tree tree;
    const auto store = open_store(tree);
    constexpr int writers = 4;
    constexpr int rounds = 50;
    std::atomic<int> failures{0};
    std::vector<std::thread> threads;
    for (int writer = 0; writer != writers; ++writer)
        threads.emplace_back([&, writer] {
            const std::string text(20'000, static_cast<char>('a' + writer));
            for (int round = 0; round != rounds; ++round) {
                failures += store->put("same/name", 0644, durability::received, bytes(text)) ? 1 : 0;
                const auto own = "own/" + std::to_string(writer) + '/' + std::to_string(round);
                failures += store->put(own, 0644, durability::received, bytes(text)) ? 1 : 0;
            }
        });
    std::size_t mixed = 0;
    for (int round = 0; round != 500; ++round) {
        const auto file = store->open_read("same/name");
        if (!file)
            continue; // not there yet
        std::string text(file->info.size, '\0');
        text.resize(*read_at(file->fd.get(), 0, std::as_writable_bytes(std::span(text))));
        mixed += text == std::string(20'000, text.empty() ? '?' : text[0]) ? 0U : 1U;
    }
    for (auto& thread : threads)
        thread.join();
    CHECK(failures == 0);
    CHECK(mixed == 0);
    for (int writer = 0; writer != writers; ++writer)
        CHECK(store->list("own/" + std::to_string(writer), "", 65'536)->entries.size() == rounds);
    CHECK(tree.staged_files() == 0);
}

TEST_CASE("one object takes writes from several threads at once")
{
    const file_tree tree;
    const auto store = open_store(tree);
    constexpr std::size_t piece = 1000;
    constexpr std::size_t pieces = 400;
    auto object = store->create("x", piece * pieces, 0644);
    REQUIRE(object.has_value());
    std::atomic<int> failures{0};
    std::vector<std::thread> threads;
    for (std::size_t part = 0; part != 4; ++part)
        threads.emplace_back([&, part] {
            for (std::size_t i = part; i < pieces; i += 4)
                failures
                    += object->write_at(i * piece, bytes(std::string(piece, static_cast<char>('a' + i % 26)))) ? 1 : 0;
        });
    for (auto& thread : threads)
        thread.join();
    REQUIRE(failures == 0);
    REQUIRE_FALSE(store->commit(std::move(*object), durability::received));
    std::string expected;
    for (std::size_t i = 0; i != pieces; ++i)
        expected.append(piece, static_cast<char>('a' + i % 26));
    CHECK(tree.read("x") == expected);
}

TEST_CASE("written ranges join as a set of bytes would")
{
    seeded_random_source random(7);
    for (int round = 0; round != 300; ++round) {
        constexpr std::uint64_t size = 64;
        written_ranges ranges;
        std::vector<bool> model(size);
        for (int i = 0; i != 40; ++i) {
            const auto start = uniform_below(random, size);
            const auto length = uniform_below(random, std::min<std::uint64_t>(size - start, 9) + 1);
            REQUIRE(ranges.add(start, length));
            std::fill_n(model.begin() + static_cast<std::ptrdiff_t>(start), length, true);
            const auto gap = static_cast<std::uint64_t>(std::find(model.begin(), model.end(), false) - model.begin());
            REQUIRE(ranges.covers(gap));
            REQUIRE_FALSE(ranges.covers(gap + 1));
        }
    }
    written_ranges scattered;
    for (std::uint64_t i = 0; i != written_ranges::ranges_max; ++i)
        REQUIRE(scattered.add(2 * i, 1));
    CHECK_FALSE(scattered.add(2 * written_ranges::ranges_max, 1));
    CHECK(scattered.add(1, 1)); // joins two
    CHECK(scattered.add(2 * written_ranges::ranges_max, 1));
}
