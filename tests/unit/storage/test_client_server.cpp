#include "file_tree.hpp"
#include "support/catch.hpp"

#include <penstock/storage/client.hpp>
#include <penstock/storage/server.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <algorithm>
#include <future>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace penstock::storage::test {
namespace {

using namespace boost::asio::experimental::awaitable_operators;
using boost::asio::awaitable;
using boost::asio::use_awaitable;

runtime_options over_tcp()
{
    runtime_options options;
    options.transport = transport_choice::tcp;
    return options;
}

// A runtime on a thread of its own, as a process has it. What is made on it has to be destroyed on it too: on().
class side {
public:
    side()
    {
        on([this] { rt_.emplace(context_.get_executor(), over_tcp()); });
    }
    side(const side&) = delete;
    side& operator=(const side&) = delete;

    ~side()
    {
        on([this] { rt_.reset(); });
        busy_.reset();
        thread_.join();
    }

    template <class Work>
    void on(Work work)
    {
        std::packaged_task<void()> task(std::move(work));
        auto done = task.get_future();
        boost::asio::post(context_, [&task] { task(); });
        done.get();
    }

    std::future<void> spawn(awaitable<void> coroutine)
    {
        return boost::asio::co_spawn(context_, std::move(coroutine), boost::asio::use_future);
    }

    runtime& rt() { return *rt_; }

private:
    boost::asio::io_context context_;
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> busy_{context_.get_executor()};
    std::optional<runtime> rt_;
    std::thread thread_{[this] { context_.run(); }};
};

struct world {
    file_tree tree;
    side there;
    side here;
    std::optional<server> serving;
    client objects;

    world()
    {
        uri where;
        where.host = "127.0.0.1";
        there.on([&] {
            server_options options;
            options.root = tree.path();
            options.transport = transport_choice::tcp;
            options.listen = {boost::asio::ip::address_v4::loopback(), 0};
            serving.emplace(there.rt(), options);
            where.port = serving->local_endpoint().port();
        });
        here.spawn(connect(where)).get();
    }
    world(const world&) = delete;
    world& operator=(const world&) = delete;

    ~world()
    {
        here.on([this] { objects = client(); });
        there.on([this] { serving.reset(); });
    }

    awaitable<void> connect(uri where)
    {
        client_options wanted;
        wanted.transport = transport_choice::tcp;
        objects = co_await client::async_open(here.rt(), where, wanted, use_awaitable);
    }
};

} // namespace

// Writes must be large and many: their data then holds up the lane's acknowledgements, so that the server reads the commit
// before it knows that its answer to the last write has arrived.
TEST_CASE("an object is committed as soon as its last write was answered")
{
    constexpr std::size_t pieces = 3;
    constexpr int objects_at_once = 8;
    constexpr int objects_each = 12;
    world w;
    const auto store_some = [&w](int group) -> awaitable<void> {
        const auto piece = w.here.rt().pool().acquire().value();
        std::fill(piece.bytes().begin(), piece.bytes().end(), std::byte{'x'});
        const auto length = piece.bytes().size();
        for (int i = 0; i != objects_each; ++i) {
            const auto name = std::to_string(group) + '/' + std::to_string(i);
            const auto handle = co_await w.objects.async_create(name, pieces * length, 0644, use_awaitable);
            const auto write = [&](std::size_t index) {
                return w.objects.async_write(handle, index * length, piece.slice(0, length), use_awaitable);
            };
            co_await (write(0) && write(1) && write(2));
            co_await w.objects.async_commit(handle, durability::received, use_awaitable);
        }
    };
    std::vector<std::future<void>> all;
    for (int group = 0; group != objects_at_once; ++group) {
        all.push_back(w.here.spawn(store_some(group)));
    }
    for (auto& one : all) {
        CHECK_NOTHROW(one.get());
    }
    const auto stored = w.tree.read("0/0");
    CHECK(stored.size() == pieces * runtime_options().pool.slice_bytes);
    CHECK(stored.find_first_not_of('x') == std::string::npos);
}

} // namespace penstock::storage::test
