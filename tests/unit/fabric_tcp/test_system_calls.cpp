// What the data path asks the kernel for. A program of its own, because it stands before two functions of the C library.

#include "unit/fabric_tcp/world.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

std::size_t reads = 0;
std::size_t writes = 0;

} // namespace

extern "C" ssize_t recvmsg(int socket, msghdr* message, int flags)
{
    ++reads;
    return ::syscall(SYS_recvmsg, socket, message, flags);
}

extern "C" ssize_t sendmsg(int socket, const msghdr* message, int flags)
{
    ++writes;
    return ::syscall(SYS_sendmsg, socket, message, flags);
}

using namespace penstock;
using namespace penstock::test;

namespace {

struct connected {
    std::unique_ptr<provider> from = make_tcp_provider();
    side a{*from};
    side b{*from};

    connected() { connect(a, b); }

    /// Long enough for `b` to expect nothing.
    std::size_t reads_of_idle_turns(std::size_t turns)
    {
        const auto before = reads;
        for (std::size_t turn = 0; turn != turns; ++turn)
            REQUIRE(b.completions->poll({}) == 0);
        return reads - before;
    }

    /// `b` sleeps until something comes, as a driver does.
    void sleep_of_b()
    {
        pollfd watched{b.completions->descriptor(), POLLIN, 0};
        REQUIRE(::poll(&watched, 1, 10'000) == 1);
    }

    std::size_t completions_of_one_turn()
    {
        std::array<work_completion, 4> done;
        return b.completions->poll(done);
    }
};

} // namespace

TEST_CASE("a socket to which nothing comes is asked now and then")
{
    connected w;
    const auto asked = w.reads_of_idle_turns(10'000);
    CHECK(asked >= 10'000 / 16);
    CHECK(asked <= 10'000 / 16 + 100);
}

TEST_CASE("what comes after a long silence still comes, without being armed for")
{
    connected w;
    w.b.receive(7, 0, 100);
    (void)w.reads_of_idle_turns(1'000);
    w.a.send({}, {w.a.segment(0, 100)});
    CHECK(next_completion(w.b, {&w.a, &w.b}).id == 7);
}

TEST_CASE("who arms and who wakes after a long silence misses nothing at the next turn")
{
    connected w;
    w.b.receive(7, 0, 100);
    w.b.receive(8, 0, 100);
    (void)w.reads_of_idle_turns(1'000);

    REQUIRE_FALSE(w.b.completions->arm());
    w.a.send({}, {w.a.segment(0, 100)});
    w.sleep_of_b();
    CHECK(w.completions_of_one_turn() == 1); // the turn that follows arm()

    (void)w.reads_of_idle_turns(1'000);
    REQUIRE_FALSE(w.b.completions->arm());
    REQUIRE(w.completions_of_one_turn() == 0);
    w.a.send({}, {w.a.segment(0, 100)});
    w.sleep_of_b();
    w.b.completions->acknowledge();
    CHECK(w.completions_of_one_turn() == 1); // the turn that follows the sleep
}

TEST_CASE("a poster expects an answer at once")
{
    connected w;
    (void)w.reads_of_idle_turns(1'000);
    send_request write;
    write.operation = opcode::write;
    write.remote = w.a.remote(0);
    w.b.send(write, {w.b.segment(0, 64)});
    CHECK(w.reads_of_idle_turns(50) == 50);
}
