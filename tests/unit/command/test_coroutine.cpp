#include "penstock/coroutine.hpp"

#include "support/catch.hpp"

#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace penstock::command;

namespace {

// Runs a coroutine to its end, and everything it started; throws what it threw.
template <class Task>
void run_to_end(asio::io_context& io, Task task)
{
    std::exception_ptr thrown;
    bool ended = false;
    asio::co_spawn(io, std::move(task), [&](std::exception_ptr failed) {
        thrown = failed;
        ended = true;
    });
    io.run();
    REQUIRE(ended);
    if (thrown) {
        std::rethrow_exception(thrown);
    }
}

struct shared_state {
    asio::io_context io;
    gate through{io.get_executor(), 2};
    asio::thread_pool threads{2};
    std::size_t inside = 0;
    std::size_t inside_max = 0;
    std::vector<int> order;
    ~shared_state() { threads.join(); }
};

awaitable<void> pass(shared_state& state, int number)
{
    const auto permit = co_await state.through.enter();
    state.order.push_back(number);
    state.inside_max = std::max(state.inside_max, ++state.inside);
    const auto home = std::this_thread::get_id();
    const auto away = co_await run_blocking(state.threads, [] { return std::this_thread::get_id(); });
    CHECK(away != home);
    CHECK(std::this_thread::get_id() == home);
    --state.inside;
}

awaitable<void> throws(shared_state& state)
{
    const auto permit = co_await state.through.enter();
    throw std::runtime_error("one of them");
}

awaitable<void> pass_all(shared_state& state, int count)
{
    task_group group(state.io.get_executor());
    for (int i = 0; i != count; ++i) {
        group.spawn(pass(state, i));
    }
    co_await group.join();
    CHECK(state.order.size() == static_cast<std::size_t>(count));
    CHECK(state.inside == 0);
}

awaitable<void> pass_and_throw(shared_state& state)
{
    task_group group(state.io.get_executor());
    for (int i = 0; i != 10; ++i) {
        group.spawn(pass(state, i));
        group.spawn(throws(state));
    }
    co_await group.join();
}

awaitable<void> join_nothing(shared_state& state)
{
    task_group group(state.io.get_executor());
    co_await group.join();
}

} // namespace

TEST_CASE("a gate lets its number through, in order")
{
    shared_state state;
    run_to_end(state.io, pass_all(state, 200));
    CHECK(state.inside_max == 2);
    CHECK(std::is_sorted(state.order.begin(), state.order.end()));
}

TEST_CASE("a group ends when all have, and tells what one threw")
{
    shared_state state;
    CHECK_THROWS_AS(run_to_end(state.io, pass_and_throw(state)), std::runtime_error);
    CHECK(state.order.size() == 10);
    CHECK(state.inside == 0);
}

TEST_CASE("an empty group has ended")
{
    shared_state state;
    run_to_end(state.io, join_nothing(state));
}
