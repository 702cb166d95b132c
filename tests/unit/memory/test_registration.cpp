#include "fake_domain.hpp"

#include "support/catch.hpp"

#include <penstock/memory/registration.hpp>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include <unistd.h>

using namespace penstock;
using namespace penstock::memory;
using penstock::test::fake_domain;

namespace {

const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));

/// Memory of the application that begins at a page.
struct application_memory {
    explicit application_memory(std::size_t pages)
        : bytes(pages * page)
        , data(static_cast<std::byte*>(std::aligned_alloc(page, bytes)))
    {}
    application_memory(const application_memory&) = delete;
    application_memory& operator=(const application_memory&) = delete;
    ~application_memory() { std::free(data); }

    std::span<std::byte> span() const { return {data, bytes}; }

    std::size_t bytes;
    std::byte* data;
};

} // namespace

TEST_CASE("a registration is one view; a transfer's segments end where it is split")
{
    fake_domain first;
    fake_domain second;
    registrar all({&first, &second}, {});
    const application_memory memory(10);
    const auto held = all.register_memory(memory.span(), {4 * page + 1});
    CHECK(held.region_count() == 3);
    CHECK(first.regions == 3);
    CHECK(second.bytes == memory.bytes);
    CHECK(held.size() == memory.bytes);

    // Every byte once, in segments that each lie in one region.
    for (const std::size_t device : {std::size_t{0}, std::size_t{1}}) {
        local_buffer rest = held;
        std::vector<std::size_t> lengths;
        std::vector<std::uint32_t> keys;
        while (!rest.empty()) {
            const auto piece = rest.segment(device);
            CHECK(piece.address == rest.data());
            CHECK(rest.region(device)->bytes().data() <= piece.address);
            CHECK(piece.address + piece.length
                <= rest.region(device)->bytes().data() + rest.region(device)->bytes().size());
            CHECK(piece.lkey == rest.region(device)->lkey());
            lengths.push_back(piece.length);
            keys.push_back(piece.lkey);
            rest = rest.slice(piece.length, rest.size() - piece.length);
        }
        CHECK(lengths == std::vector<std::size_t>{4 * page, 4 * page, 2 * page});
        CHECK(std::adjacent_find(keys.begin(), keys.end()) == keys.end());
    }
    CHECK(held.slice(3 * page, 2 * page).segment(0).length == page);
    CHECK(held.slice(3 * page, 2 * page).region_bytes() == page);
    CHECK(first.rights_seen.front() == (fabric::access::local_write | fabric::access::window_bind));
}

TEST_CASE("memory that begins anywhere is split at page borders")
{
    fake_domain domain;
    registrar all({&domain}, {});
    const application_memory memory(4);
    const auto held = all.register_memory(memory.span().subspan(100, 2 * page), {page});
    CHECK(held.region_count() == 3);
    CHECK(held.slice().segment(0).length == page - 100);
    CHECK(held.slice(page - 100, page).segment(0).length == page);
    CHECK(held.slice(2 * page - 1, 1).segment(0).length == 1);
    CHECK(domain.bytes == 2 * page);
}

TEST_CASE("the devices' own limit splits as well")
{
    fake_domain domain;
    registrar_options options;
    options.region_bytes_max = 2 * page;
    registrar all({&domain}, options);
    const application_memory memory(4);
    CHECK(all.register_memory(memory.span()).region_count() == 2);
}

TEST_CASE("the budget counts all handles together")
{
    fake_domain domain;
    registrar_options options;
    options.bytes_max = 3 * page;
    registrar all({&domain}, options);
    const application_memory memory(4);
    auto two = all.register_memory(memory.span().first(2 * page));
    error_code error;
    const auto none = all.register_memory(memory.span().last(2 * page), {}, error);
    CHECK(error == errc::registration_budget);
    CHECK_FALSE(none);
    CHECK(none.refusal().find("application_bytes_max") != std::string::npos);
    CHECK(all.statistics().bytes_registered == 2 * page);
    CHECK(all.statistics().registrations == 1);
    CHECK_FALSE(two.deregister().failed());
    CHECK(two.deregister() == errc::wrong_state);
    CHECK(all.statistics().bytes_registered == 0);
    CHECK(all.register_memory(memory.span().last(3 * page)));
    CHECK(domain.regions == 0);
}

TEST_CASE("a refusal names memlock and the amounts, and leaves nothing behind")
{
    fake_domain first;
    fake_domain second;
    second.refuse_at = 2;
    registrar all({&first, &second}, {});
    const application_memory memory(4);
    error_code error;
    const auto none = all.register_memory(memory.span(), {page}, error);
    CHECK(error == errc::registration_refused);
    INFO(none.refusal());
    CHECK(none.refusal().starts_with("raise `ulimit -l`: registering 16KiB needs "));
    CHECK(none.refusal().find(", the limit is ") != std::string::npos);
    CHECK(first.regions == 0);
    CHECK(second.regions == 0);
    CHECK(all.statistics().bytes_registered == 0);

    second.refuse_at = 0;
    try {
        (void)all.register_memory(memory.span());
        FAIL("not refused");
    } catch (const system_error& thrown) {
        CHECK(thrown.code() == errc::registration_refused);
        CHECK(std::string(thrown.what()).find("ulimit -l") != std::string::npos);
    }
    CHECK_THROWS_AS(all.register_memory({}), system_error);
}

TEST_CASE("handles that are destroyed leave the blocking part to somebody else, once")
{
    fake_domain domain;
    registrar all({&domain}, {});
    std::vector<std::function<void()>> later;
    all.release_elsewhere([&later](std::function<void()> work) {
        later.push_back(std::move(work));
        return true;
    });
    const application_memory memory(1);
    {
        auto held = all.register_memory(memory.span());
        const registration moved(std::move(held));
        CHECK_FALSE(held); // NOLINT(bugprone-use-after-move): what is left is promised
    }
    REQUIRE(later.size() == 1);
    CHECK(domain.regions == 1);
    later.front()();
    CHECK(domain.regions == 0);
    CHECK(all.statistics().registrations == 0);

    all.release_elsewhere([](const std::function<void()>&) { return false; });
    {
        const auto held = all.register_memory(memory.span());
    }
    CHECK(domain.regions == 0);
}

TEST_CASE("memory under a window stays registered, and goes on counting")
{
    fake_domain domain;
    registrar all({&domain}, {});
    const application_memory memory(1);
    {
        auto held = all.register_memory(memory.span());
        domain.windows_bound = true;
        CHECK(held.deregister() == errc::region_in_use);
        CHECK(held);
    }
    CHECK(all.statistics().bytes_registered == page);
    CHECK(all.statistics().registrations == 0);
}
