// Processes that fork while connections, registrations and threads of the library live.

#include "support/catch.hpp"

#include <penstock/connection/acceptor.hpp>
#include <penstock/connection/connection.hpp>
#include <penstock/connection/memory_operations.hpp>
#include <penstock/core/fork.hpp>
#include <penstock/fabric/tcp.hpp>
#include <penstock/storage/server.hpp>
#include <penstock/transfer/transfer.hpp>

#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

using namespace penstock;

namespace {

constexpr std::size_t length = 40'000;

runtime_options options_for(transport_choice transport)
{
    runtime_options options;
    options.transport = transport;
    options.pool.slice_bytes = std::size_t{64} << 10U;
    options.pool.arena_bytes = std::size_t{256} << 10U;
    options.polling.spin = std::chrono::microseconds(0);
    return options;
}

struct temporary_directory {
    std::string path = (std::filesystem::temp_directory_path() / "penstock-fork-XXXXXX").string();

    temporary_directory() { REQUIRE(::mkdtemp(path.data()) != nullptr); }
    temporary_directory(const temporary_directory&) = delete;
    temporary_directory& operator=(const temporary_directory&) = delete;
    ~temporary_directory()
    {
        if (!core::forked()) {
            std::error_code ignored;
            std::filesystem::remove_all(path, ignored);
        }
    }
};

/// A server that writes from the application's own memory into a pool's buffer of its client.
struct world {
    boost::asio::io_context& context;
    fabric::endpoint address;
    transport_choice transport;
    runtime server;
    runtime client;
    std::unique_ptr<connection::connection> there;
    std::optional<connection::acceptor> listening;
    std::unique_ptr<connection::connection> here;
    temporary_directory root; // two tests at once must not serve the same one
    std::unique_ptr<storage::server> files;
    std::vector<std::byte> application = std::vector<std::byte>(length);
    memory::registration source;
    memory::buffer target;
    fabric::memory_window* window = nullptr;
    unsigned rounds = 0;

    world(boost::asio::io_context& on, transport_choice kind)
        : context(on)
        , transport(kind)
        , server(on.get_executor(), options_for(kind))
        , client(on.get_executor(), options_for(kind))
    {
        const char* const given = kind == transport_choice::verbs ? std::getenv("PENSTOCK_ADDRESS") : nullptr;
        address = {boost::asio::ip::make_address(given != nullptr ? given : "127.0.0.1"), 0};
        connection::acceptor_options accepting;
        accepting.listen = address;
        accepting.transport = kind;
        listening.emplace(
            server, accepting, [this](std::unique_ptr<connection::connection> made) { there = std::move(made); });
        connection::connect_options connecting;
        connecting.transport = kind;
        async_connect(client, listening->local_endpoint(), connecting,
            [this](error_code error, std::unique_ptr<connection::connection> made) {
                INFO(error.message());
                REQUIRE(made);
                here = std::move(made);
            });
        async_register(server, application, {}, [this](error_code error, memory::registration made) {
            INFO(error.message());
            REQUIRE(made);
            source = std::move(made);
        });
        run_until([this] { return here && there && source; });
        storage::server_options serving;
        serving.root = root.path;
        serving.listen = address;
        serving.transport = kind;
        serving.cache_bytes = 0;
        files = std::make_unique<storage::server>(server, serving);
        target = client.pool().acquire().value();
        expose();
        client.poller().hold();
    }
    world(const world&) = delete;
    world& operator=(const world&) = delete;
    ~world() { client.poller().release_hold(); }

    void run_until(const std::function<bool()>& reached)
    {
        const auto limit = system_clock_source().now() + std::chrono::seconds(30);
        while (!reached()) {
            REQUIRE(system_clock_source().now() < limit);
            if (context.stopped()) {
                context.restart();
            }
            (void)context.run_one_for(std::chrono::milliseconds(10));
        }
    }

    void run_chain(connection::lane& on, fabric::send_request request)
    {
        std::optional<error_code> ended;
        auto callback = [&ended](error_code error) { ended = error; };
        REQUIRE_FALSE(transfer::submit(on, {&request, 1}, callback).failed());
        run_until([&ended] { return ended.has_value(); });
        INFO(ended->message());
        REQUIRE_FALSE(ended->failed());
    }

    void expose()
    {
        window = here->data().acquire_window().value();
        fabric::send_request bind;
        bind.operation = fabric::opcode::bind_window;
        bind.bind.window = window;
        bind.bind.region = target.slice().region(here->data().device().index);
        bind.bind.address = target.data();
        bind.bind.length = length;
        bind.bind.rights = fabric::access::remote_read | fabric::access::remote_write;
        run_chain(here->data(), bind);
    }

    /// Both processors write to both ends between the transfers: a page that is not shared with the device any more shows.
    void transfer_once()
    {
        const auto pattern = static_cast<std::byte>(++rounds);
        std::fill(application.begin(), application.end(), pattern);
        std::fill(target.bytes().begin(), target.bytes().end(), ~pattern);
        const std::array local{source.slice().segment(there->data().device().index)};
        fabric::send_request write;
        write.operation = fabric::opcode::write;
        write.local = local;
        write.remote = {reinterpret_cast<std::uintptr_t>(target.data()), window->key()};
        run_chain(there->data(), write);
        const auto landed = target.bytes().first(length);
        REQUIRE(std::all_of(landed.begin(), landed.end(), [pattern](std::byte each) { return each == pattern; }));
        REQUIRE(target.bytes()[length] == ~pattern);
    }
};

/// What a child found wrong: it has no test framework.
struct findings {
    int count = 0;

    void forked(const char* what, const error_code& error)
    {
        if (error != errc::forked) {
            ++count;
            std::cerr << "in the child, " << what << ": " << error.message() << '\n';
        }
    }
    template <class Function>
    void throws(const char* what, Function function)
    {
        try {
            function();
            forked(what, {});
        } catch (const system_error& thrown) {
            forked(what, thrown.code());
        }
    }
};

void try_fabric(findings& found, runtime& rt, fabric::transport kind)
{
    auto& opened = *rt.device(kind);
    std::vector<std::byte> bytes(4'096);
    found.forked("provider::open", opened.provider->open().error());
    found.forked("provider::create_connection_channel", opened.provider->create_connection_channel().error());
    found.forked("allocate_protection_domain", opened.device->allocate_protection_domain().error());
    found.forked("create_completion_queue", opened.device->create_completion_queue(16).error());
    found.forked("register_memory", opened.domain->register_memory(bytes, fabric::access::local_write).error());
    found.forked("allocate_window", opened.domain->allocate_window().error());
    found.forked("create_shared_receive_queue", opened.domain->create_shared_receive_queue({}).error());
    found.forked("create_queue_pair", opened.domain->create_queue_pair({}).error());
    found.forked("completion_queue::arm", opened.completions->arm(false));
}

void try_transfers(findings& found, world& w)
{
    fabric::send_request write;
    const std::array local{w.source.slice().segment(w.there->data().device().index)};
    write.operation = fabric::opcode::write;
    write.local = local;
    write.remote = {reinterpret_cast<std::uintptr_t>(w.target.data()), w.window->key()};
    auto callback = [](error_code) {};
    found.forked("submit", transfer::submit(w.there->data(), {&write, 1}, callback));
    error_code told;
    int called = 0;
    transfer::async_write(w.there->data(), local[0], write.remote, [&told](error_code error) { told = error; });
    connection::async_connect(w.client, w.listening->local_endpoint(), {},
        [&](error_code error, const std::unique_ptr<connection::connection>&) {
            ++called;
            found.forked("async_connect", error);
        });
    async_acquire(w.client, 100, {}, [&](error_code error, const memory::buffer&) {
        ++called;
        found.forked("async_acquire", error);
    });
    async_register(w.client, w.application, {}, [&](error_code error, const memory::registration&) {
        ++called;
        found.forked("async_register", error);
    });
    (void)w.context.poll(); // must not touch the parent's connections either
    found.forked("async_write", told);
    if (called != 3) {
        ++found.count;
        std::cerr << "in the child, of three handlers were called: " << called << '\n';
    }
}

int child(std::optional<world>& w)
{
    findings found;
    if (!core::forked()) {
        return 1;
    }
    found.throws("runtime", [&] { const runtime made(w->context.get_executor(), options_for(w->transport)); });
    found.throws("acceptor", [&] {
        connection::acceptor_options accepting;
        accepting.listen = w->address;
        const connection::acceptor made(w->client, accepting, {});
    });
    found.throws("storage::server", [&] {
        storage::server_options serving;
        serving.root = ".";
        serving.listen = w->address;
        const storage::server made(w->client, serving);
    });
    found.throws("memory_pool", [] { const memory::memory_pool made({}, {}); });
    found.forked("memory_pool::acquire", w->client.pool().acquire().error());
    found.forked("registration::deregister", w->source.deregister());
    error_code error;
    (void)w->client.registrations().register_memory(w->application, {}, error);
    found.forked("registrar::register_memory", error);
    found.forked("control_thread::start", w->client.control().start([] {}));
    found.forked("poller::arm", w->client.poller().arm());
    try_fabric(found, w->client, fabric::transport::tcp);
    if (w->transport == transport_choice::verbs) {
        try_fabric(found, w->client, fabric::transport::verbs);
    }
    try_transfers(found, *w);
    w.reset();
    return found.count == 0 ? 0 : 1;
}

/// A child that has done its part says so, and lives on until it is told to end.
struct family {
    std::array<int, 2> ended{-1, -1};
    std::array<int, 2> lives{-1, -1};
    std::vector<pid_t> children;

    family()
    {
        REQUIRE(::pipe(ended.data()) == 0);
        REQUIRE(::pipe(lives.data()) == 0);
    }
    family(const family&) = delete;
    family& operator=(const family&) = delete;
    ~family()
    {
        for (const int each : {ended[0], ended[1], lives[0], lives[1]}) {
            ::close(each);
        }
    }

    void fork(boost::asio::io_context& context, std::optional<world>& w)
    {
        context.notify_fork(boost::asio::execution_context::fork_prepare);
        const pid_t made = ::fork();
        REQUIRE(made >= 0);
        if (made != 0) {
            context.notify_fork(boost::asio::execution_context::fork_parent);
            children.push_back(made);
            return;
        }
        context.notify_fork(boost::asio::execution_context::fork_child);
        int status = 1;
        try {
            status = child(w);
        } catch (const std::exception& thrown) {
            std::cerr << "in the child: " << thrown.what() << '\n';
        }
        ::close(lives[1]);
        char byte = static_cast<char>(status);
        (void)!::write(ended[1], &byte, 1);
        (void)!::read(lives[0], &byte, 1); // until the parent closes its end
        ::_exit(status);
    }
};

void fork_under_traffic(transport_choice transport)
{
    constexpr int children = 4;
    boost::asio::io_context context;
    std::optional<world> w(std::in_place, context, transport);
    family all;
    for (int i = 0; i != children; ++i) {
        w->transfer_once();
        all.fork(context, w);
        w->transfer_once();
    }
    std::string statuses;
    while (statuses.size() != children) {
        w->transfer_once(); // while the children try, and leave
        fd_set readable;
        FD_ZERO(&readable);
        FD_SET(all.ended[0], &readable);
        timeval at_once{};
        char byte = 0;
        if (::select(all.ended[0] + 1, &readable, nullptr, nullptr, &at_once) == 1) {
            REQUIRE(::read(all.ended[0], &byte, 1) == 1);
            statuses.push_back(byte);
        }
    }
    CHECK(statuses == std::string(children, '\0'));
    for (int i = 0; i != 50; ++i) {
        w->transfer_once(); // they have left, and are still there
    }
    // What needs more than the connections of before.
    bool registered = false;
    async_register(w->client, w->application, {}, [&](error_code error, const memory::registration&) {
        CHECK_FALSE(error.failed());
        registered = true;
    });
    w->run_until([&registered] { return registered; });
    ::close(std::exchange(all.lives[1], -1));
    for (const auto each : all.children) {
        int status = 0;
        REQUIRE(::waitpid(each, &status, 0) == each);
        CHECK(WIFEXITED(status));
        CHECK(WEXITSTATUS(status) == 0);
    }
    w->transfer_once();
    CHECK_FALSE(core::forked());
}

} // namespace

TEST_CASE("children are refused and leave; the parent's traffic goes on, over tcp", "[tcp]")
{
    fork_under_traffic(transport_choice::tcp);
}

TEST_CASE("children are refused and leave; the parent's traffic goes on, over verbs", "[verbs]")
{
    fork_under_traffic(transport_choice::verbs);
}

TEST_CASE("a program that forks before it uses the library uses it in the child", "[before]")
{
    const pid_t made = ::fork();
    REQUIRE(made >= 0);
    if (made == 0) {
        int status = 1;
        try {
            boost::asio::io_context context;
            std::optional<world> w(std::in_place, context, transport_choice::tcp);
            w->transfer_once();
            w.reset();
            status = core::forked() ? 1 : 0;
        } catch (const std::exception& thrown) {
            std::cerr << "in the child: " << thrown.what() << '\n';
        }
        ::_exit(status);
    }
    int status = 0;
    REQUIRE(::waitpid(made, &status, 0) == made);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
}
