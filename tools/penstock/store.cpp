#include "store.hpp"

#include <boost/asio/as_tuple.hpp>

namespace penstock::command {
namespace {

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);

} // namespace

error_code store::note(const error_code& ec)
{
    if (ec && is_fatal(ec)) {
        session_->lose(ec);
    }
    // Operations cut off by our own closing of the client tell that they were cancelled; the reason is the session's.
    return ec == errc::cancelled && session_->stopped() ? session_->stopped() : ec;
}

awaitable<result<storage::opened_object>> store::open(std::string name, memory::local_buffer into)
{
    const auto permit = co_await requests_.enter();
    if (session_->stopped()) {
        co_return session_->stopped();
    }
    const session::expectation answer(*session_);
    auto [ec, opened] = co_await session_->client().async_open_object(std::move(name), into, as_result);
    if (ec) {
        co_return note(ec);
    }
    co_return opened;
}

awaitable<result<std::size_t>> store::read(
    storage::object_handle object, std::uint64_t offset, memory::local_buffer into)
{
    const auto permit = co_await requests_.enter();
    if (session_->stopped()) {
        co_return session_->stopped();
    }
    const session::expectation answer(*session_);
    const auto [ec, bytes] = co_await session_->client().async_read(object, offset, into, as_result);
    if (ec) {
        co_return note(ec);
    }
    co_return bytes;
}

awaitable<error_code> store::put(
    std::string name, std::uint32_t permissions, storage::durability wanted, memory::local_buffer from)
{
    const auto permit = co_await requests_.enter();
    if (session_->stopped()) {
        co_return session_->stopped();
    }
    const session::expectation answer(*session_);
    const auto [ec] = co_await session_->client().async_put(std::move(name), permissions, wanted, from, as_result);
    co_return note(ec);
}

awaitable<result<storage::object_handle>> store::create(std::string name, std::uint64_t size, std::uint32_t permissions)
{
    const auto permit = co_await requests_.enter();
    if (session_->stopped()) {
        co_return session_->stopped();
    }
    const session::expectation answer(*session_);
    const auto [ec, handle] = co_await session_->client().async_create(std::move(name), size, permissions, as_result);
    if (ec) {
        co_return note(ec);
    }
    co_return handle;
}

awaitable<error_code> store::write(storage::object_handle object, std::uint64_t offset, memory::local_buffer from)
{
    const auto permit = co_await requests_.enter();
    if (session_->stopped()) {
        co_return session_->stopped();
    }
    const session::expectation answer(*session_);
    const auto [ec] = co_await session_->client().async_write(object, offset, from, as_result);
    co_return note(ec);
}

awaitable<error_code> store::commit(storage::object_handle object, storage::durability wanted)
{
    const auto permit = co_await requests_.enter();
    if (session_->stopped()) {
        co_return session_->stopped();
    }
    const session::expectation answer(*session_);
    const auto [ec] = co_await session_->client().async_commit(object, wanted, as_result);
    co_return note(ec);
}

awaitable<error_code> store::close(storage::object_handle object)
{
    const auto permit = co_await requests_.enter();
    if (session_->stopped()) {
        co_return session_->stopped();
    }
    const session::expectation answer(*session_);
    const auto [ec] = co_await session_->client().async_close(object, as_result);
    co_return note(ec);
}

awaitable<error_code> store::make_directory(std::string name)
{
    const auto permit = co_await requests_.enter();
    if (session_->stopped()) {
        co_return session_->stopped();
    }
    const session::expectation answer(*session_);
    const auto [ec] = co_await session_->client().async_make_directory(std::move(name), as_result);
    co_return note(ec);
}

awaitable<result<storage::object_info>> store::stat(std::string name)
{
    const auto permit = co_await requests_.enter();
    if (session_->stopped()) {
        co_return session_->stopped();
    }
    const session::expectation answer(*session_);
    const auto [ec, info] = co_await session_->client().async_stat(std::move(name), as_result);
    if (ec) {
        co_return note(ec);
    }
    co_return info;
}

awaitable<result<std::vector<storage::list_entry>>> store::list(std::string directory)
{
    const auto scratch = co_await session_->acquire_slice();
    if (!scratch) {
        co_return scratch.error();
    }
    std::vector<storage::list_entry> entries;
    std::string after;
    for (;;) {
        const auto permit = co_await requests_.enter();
        if (session_->stopped()) {
            co_return session_->stopped();
        }
        const session::expectation answer(*session_);
        auto [ec, page] = co_await session_->client().async_list(directory, after, scratch->buffer.slice(), as_result);
        if (ec) {
            co_return note(ec);
        }
        for (auto& entry : page.entries) {
            entries.push_back(std::move(entry));
        }
        if (!page.more) {
            break;
        }
        if (page.entries.empty()) {
            // More to come, but nothing to ask from: it would never end.
            co_return make_error_code(errc::malformed_message);
        }
        after = entries.back().name;
    }
    co_return entries;
}

} // namespace penstock::command
