// What happens between two machines: a handshake message that is lost, and a network that swallows everything.
//
// Run by tools/softroce --hosts 2. Host 0 serves; host 1 connects, loses, checks, and connects again. The times printed are for people;
// only outcomes are checked.

#include <penstock/core/clock.hpp>
#include <penstock/fabric/verbs.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <stdexcept>
#include <string>

namespace {

using namespace penstock;
using namespace penstock::fabric;
using namespace std::chrono_literals;
using event = connection_event_type;

constexpr std::uint16_t port = 7471;

[[noreturn]] void fail(const std::string& what)
{
    throw std::runtime_error(what);
}

void expect(bool fact, const std::string& what)
{
    if (!fact)
        fail(what);
}

template <class T>
T must(result<T> made, const char* what)
{
    if (!made)
        fail(std::string(what) + ": " + made.error().message());
    return std::move(*made);
}

const char* name_of(event type)
{
    constexpr std::array names{"resolved", "connect_request", "established", "rejected", "unreachable", "disconnected",
        "device_removed", "failed"};
    return names.at(static_cast<std::size_t>(type));
}

double seconds_since(time_point start)
{
    return std::chrono::duration<double>(system_clock_source().now() - start).count();
}

/// `ip` and `tc` are the guest's own.
void shell(const std::string& command)
{
    expect(std::system(command.c_str()) == 0, command); // NOLINT(cert-env33-c)
}

std::string variable(const char* name)
{
    const char* const value = std::getenv(name);
    expect(value != nullptr, std::string(name) + " is not set: run under tools/softroce --hosts 2");
    return value;
}

endpoint at(const char* name)
{
    return {boost::asio::ip::make_address(variable(name)), port};
}

/// Where the other side may read and write.
struct grant {
    std::uint64_t address = 0;
    std::uint32_t rkey = 0;
    std::uint32_t reserved = 0;
};

struct host {
    host()
        : source(make_verbs_provider())
        , hardware(must(source->open(), "opening the device"))
        , domain(must(hardware->allocate_protection_domain(), "a protection domain"))
        , completions(must(hardware->create_completion_queue(1'024), "a completion queue"))
        , channel(must(source->create_connection_channel(), "a channel"))
        , region(must(domain->register_memory(memory, access::local_write | access::remote_write | access::remote_read),
              "registering"))
    {}

    std::unique_ptr<queue_pair> make_pair()
    {
        queue_pair_options options;
        options.send_completions = options.receive_completions = completions.get();
        options.send_depth = options.receive_depth = 8;
        return must(domain->create_queue_pair(options), "a queue pair");
    }

    /// Device events since the last call, counted by type.
    int take_device_events(device_event_type type)
    {
        int count = 0;
        std::array<device_event, 8> some;
        while (const auto taken = hardware->poll_events(some))
            for (std::size_t i = 0; i != taken; ++i)
                count += some.at(i).type == type ? 1 : 0;
        return count;
    }

    std::vector<std::byte> memory = std::vector<std::byte>(4'096);
    std::unique_ptr<provider> source;
    std::unique_ptr<device> hardware;
    std::unique_ptr<protection_domain> domain;
    std::unique_ptr<completion_queue> completions;
    std::unique_ptr<connection_channel> channel;
    std::unique_ptr<memory_region> region;
};

/// One connection of the client's.
class lane {
public:
    explicit lane(host& home)
        : home_(home)
        , pair_(home.make_pair())
    {}

    /// Until the next event; a connection that tells nothing for `limit` has failed the test.
    connection_event next(duration limit)
    {
        const auto start = system_clock_source().now();
        std::array<connection_event, 1> told;
        while (home_.channel->poll(told) == 0)
            expect(system_clock_source().now() - start < limit, "a connection that tells its end");
        expect(told[0].source == link_.get(), "an event about this connection");
        return std::move(told[0]);
    }

    connection_event resolve(const resolve_options& options = {})
    {
        link_ = must(home_.channel->resolve(at("PENSTOCK_PEER_ADDRESS"), options), "resolving");
        return next(options.timeout * 2 + 1s);
    }

    void ask(std::string_view word)
    {
        connect_options with;
        with.private_data = std::as_bytes(std::span(word.data(), word.size()));
        const auto error = link_->connect(*pair_, with);
        expect(!error.failed(), "connect: " + error.message());
    }

    /// Resolves and connects; the last event.
    connection_event connect(std::string_view word = "again")
    {
        auto told = resolve();
        if (told.type == event::resolved) {
            ask(word);
            told = next(handshake_timeout_default + 1s);
        }
        if (told.type == event::established)
            std::memcpy(&grant_, told.private_data.storage.data(), sizeof grant_);
        return told;
    }

    void adopt(const connection_event& established)
    {
        std::memcpy(&grant_, established.private_data.storage.data(), sizeof grant_);
    }

    work_completion run(opcode operation, std::size_t offset)
    {
        const local_segment local{home_.memory.data() + offset, 1'024, home_.region->lkey()};
        send_request request;
        request.operation = operation;
        request.local = {&local, 1};
        request.remote = {grant_.address, grant_.rkey};
        expect(pair_->post_send({&request, 1}).posted == 1, "a post");
        const auto start = system_clock_source().now();
        std::array<work_completion, 1> done;
        while (home_.completions->poll(done) == 0)
            expect(system_clock_source().now() - start < 60s, "a completion");
        return done[0];
    }

    /// Writes, reads back, compares.
    void expect_works(int value)
    {
        std::fill_n(home_.memory.begin(), 1'024, static_cast<std::byte>(value));
        expect(run(opcode::write, 0).status == completion_status::success, "a write");
        expect(run(opcode::read, 2'048).status == completion_status::success, "a read");
        expect(std::equal(home_.memory.begin(), home_.memory.begin() + 1'024, home_.memory.begin() + 2'048),
            "the bytes written are read");
    }

    fabric::connection& link() { return *link_; }
    queue_pair& pair() { return *pair_; }

private:
    host& home_;
    std::unique_ptr<queue_pair> pair_;
    std::unique_ptr<fabric::connection> link_;
    grant grant_;
};

/// The server may not listen yet.
void wait_for_server(host& home)
{
    const auto start = system_clock_source().now();
    for (;;) {
        lane first(home);
        if (first.connect().type == event::established)
            return first.expect_works(1);
        expect(system_clock_source().now() - start < 60s, "a server that listens");
    }
}

/// The request is lost: the kernel sends it again, long after two seconds.
void lost_request(host& home, std::chrono::milliseconds patience, event expected)
{
    lane one(home);
    resolve_options options;
    options.handshake_timeout = patience;
    expect(one.resolve(options).type == event::resolved, "the server's address is resolved");
    shell("tc qdisc add dev eth0 root netem loss 100%");
    one.ask("lost once");
    const auto start = system_clock_source().now();
    std::array<connection_event, 1> early;
    while (system_clock_source().now() - start < 500ms)
        expect(home.channel->poll(early) == 0, "the request is lost");
    shell("tc qdisc del dev eth0 root");
    const auto told = one.next(patience + 1s);
    std::printf("a lost request, %lld ms allowed: %s after %.1f s\n", static_cast<long long>(patience.count()),
        name_of(told.type), seconds_since(start));
    expect(told.type == expected, std::string("expected ") + name_of(expected));
    if (told.type == event::established) {
        one.adopt(told);
        one.expect_works(2);
    }
}

/// A write that meets no network: it fails, and the connection with it. Its status.
completion_status expect_cut_off(lane& before, const char* how)
{
    const auto start = system_clock_source().now();
    const auto failed = before.run(opcode::write, 0);
    std::printf("%s: the write ends with \"%s\" after %.1f s\n", how, std::string(to_string(failed.status)).c_str(),
        seconds_since(start));
    const auto ended = before.next(10s);
    std::printf("%s: the connection tells %s (%s) after %.1f s\n", how, name_of(ended.type),
        ended.error.message().c_str(), seconds_since(start));
    expect(ended.type == event::disconnected && ended.error == errc::lane_error, "the connection ends with lane_error");
    expect(before.pair().state() == queue_pair_state::error, "the queue pair is in ERROR");
    expect(before.run(opcode::write, 0).status == completion_status::flushed, "what is posted later is flushed");
    return failed.status;
}

/// The network takes every packet and delivers none.
void swallowing_network(host& home)
{
    lane before(home);
    expect(before.connect().type == event::established, "connected before the network swallows");
    before.expect_works(4);
    shell("tc qdisc add dev eth0 root netem loss 100%");
    expect(expect_cut_off(before, "packets swallowed") == completion_status::transport_retry_exceeded,
        "the write says that its retries are used up");
    shell("tc qdisc del dev eth0 root");
    lane after(home);
    expect(after.connect().type == event::established, "connected again");
    after.expect_works(5);
}

void ask()
{
    host home;
    wait_for_server(home);
    lost_request(home, 2s, event::unreachable);
    lost_request(home, handshake_timeout_default, event::established);
    swallowing_network(home);
    lane last(home);
    expect(last.connect("last").type == event::established, "connected a last time");
}

struct accepted {
    std::unique_ptr<queue_pair> pair;
    std::unique_ptr<fabric::connection> link;
    time_point since{};
    bool established = false;
    bool ended = false;
};

/// Nobody tells the server whose peer was cut off, and it has nothing under way that could fail: writing, it finds out.
void write_nothing(queue_pair& pair)
{
    send_request request;
    request.operation = opcode::write;
    expect(pair.post_send({&request, 1}).posted == 1, "a write of no bytes");
}

/// Accepts everybody until the last one has gone, and every other as well.
void serve()
{
    host home;
    const auto door = must(home.channel->listen(at("PENSTOCK_ADDRESS")), "listening");
    const grant given{reinterpret_cast<std::uint64_t>(home.memory.data()), home.region->rkey(), 0};
    std::list<accepted> all;
    bool last_came = false;
    const auto start = system_clock_source().now();
    const auto over = [&] {
        return last_came && std::all_of(all.begin(), all.end(), [](const accepted& each) { return each.ended; });
    };
    std::array<connection_event, 1> told;
    while (!over()) {
        expect(system_clock_source().now() - start < 150s, "all connections end, though their peer was cut off");
        std::array<work_completion, 8> written;
        (void)home.completions->poll(written); // an error moves its queue pair to ERROR, and the connection tells
        if (home.channel->poll(told) == 0)
            continue;
        auto& now = told[0];
        if (now.type == event::connect_request) {
            all.push_back({home.make_pair(), std::move(now.incoming), system_clock_source().now()});
            if (std::memcmp(now.private_data.storage.data(), "last", 4) == 0) {
                last_came = true;
                for (auto& each : all)
                    if (!each.ended && each.established)
                        write_nothing(*each.pair);
            }
            connect_options with;
            with.private_data = std::as_bytes(std::span(&given, 1));
            all.back().ended = all.back().link->accept(*all.back().pair, with).failed();
            continue;
        }
        const auto about
            = std::find_if(all.begin(), all.end(), [&](const accepted& each) { return each.link.get() == now.source; });
        std::printf("server: %s (%s) %.1f s after the request\n", name_of(now.type), now.error.message().c_str(),
            seconds_since(about->since));
        about->established = about->established || now.type == event::established;
        about->ended = about->ended || now.type != event::established;
    }
}

} // namespace

int main()
{
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    try {
        if (variable("PENSTOCK_HOST") == "0")
            serve();
        else
            ask();
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "FAILED: %s\n", error.what());
        return 1;
    }
}
