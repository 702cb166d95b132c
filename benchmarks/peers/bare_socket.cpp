// bare_socket [--size BYTES] [--depth N] [--seconds S] [--data BYTES]
//
// The most that a request and a reply over one TCP connection can move on this machine: two processes that only call send and
// recv, spin instead of sleeping, and do nothing else. The client keeps N requests of 32 bytes outstanding; the server
// answers each with a header of 32 bytes and SIZE bytes of DATA distinct ones; the client reads them into N buffers in turn.
// No keys, no checksum, no completions, no files. Prints one JSON object.

#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace {

constexpr std::size_t header_bytes = 32;
constexpr int buffer_bytes = 2 << 20; // what the tcp provider asks for by default

struct settings {
    std::size_t size = std::size_t{1} << 20U;
    std::size_t depth = 16;
    std::size_t seconds = 3;
    std::size_t data = std::size_t{256} << 20U;
};

struct header {
    std::uint64_t extent = 0;
    std::array<std::byte, header_bytes - sizeof(std::uint64_t)> unused{};
};
static_assert(sizeof(header) == header_bytes);

[[noreturn]] void die(const char* what)
{
    std::perror(what);
    std::exit(1);
}

// True for a result to use, false for "not now". The other side's end ends this one.
bool moved(ssize_t result, const char* what)
{
    if (result > 0) {
        return true;
    }
    if (result == 0) {
        std::exit(0);
    }
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        die(what);
    }
    return false;
}

std::uint64_t scramble(std::uint64_t& state)
{
    state ^= state << 13U;
    state ^= state >> 7U;
    state ^= state << 17U;
    return state;
}

void tune(int socket)
{
    const int on = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof buffer_bytes);
    ::setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes);
}

class server {
public:
    server(int socket, const settings& with)
        : socket_(socket)
        , with_(with)
        , data_(with.data)
        , answers_(with.depth)
    {
        std::uint64_t state = 88172645463325252U;
        for (std::size_t at = 0; at + sizeof state <= data_.size(); at += sizeof state) {
            const auto word = scramble(state);
            std::memcpy(data_.data() + at, &word, sizeof word);
        }
    }

    [[noreturn]] void run()
    {
        for (;;) {
            receive();
            if (queued_ != 0) {
                send();
            }
        }
    }

private:
    void receive()
    {
        const auto room = requests_.size() - have_;
        const auto got = ::recv(socket_, requests_.data() + have_, room, MSG_DONTWAIT);
        if (!moved(got, "recv")) {
            return;
        }
        have_ += static_cast<std::size_t>(got);
        std::size_t used = 0;
        for (; have_ - used >= header_bytes; used += header_bytes) {
            std::memcpy(&answers_[(first_ + queued_++) % answers_.size()], requests_.data() + used, header_bytes);
        }
        have_ -= used;
        std::memmove(requests_.data(), requests_.data() + used, have_);
    }

    void send()
    {
        std::array<iovec, 8> pieces{};
        std::size_t count = 0;
        auto skip = sent_;
        for (std::size_t i = 0; i != queued_ && count + 2 <= pieces.size(); ++i) {
            auto& answer = answers_[(first_ + i) % answers_.size()];
            auto* const payload = data_.data() + answer.extent * with_.size;
            if (skip < header_bytes) {
                pieces[count++] = {reinterpret_cast<std::byte*>(&answer) + skip, header_bytes - skip};
                skip = header_bytes;
            }
            pieces[count++] = {payload + (skip - header_bytes), with_.size - (skip - header_bytes)};
            skip = 0;
        }
        msghdr message{};
        message.msg_iov = pieces.data();
        message.msg_iovlen = count;
        const auto sent = ::sendmsg(socket_, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (!moved(sent, "sendmsg")) {
            return;
        }
        sent_ += static_cast<std::size_t>(sent);
        for (; sent_ >= header_bytes + with_.size; sent_ -= header_bytes + with_.size) {
            first_ = (first_ + 1) % answers_.size();
            --queued_;
        }
    }

    int socket_;
    settings with_;
    std::vector<std::byte> data_;
    std::vector<header> answers_; // a ring: the client has no more outstanding than fit
    std::array<std::byte, 64 * header_bytes> requests_{};
    std::size_t have_ = 0;
    std::size_t first_ = 0;
    std::size_t queued_ = 0;
    std::size_t sent_ = 0; // bytes of the first answer
};

class client {
public:
    client(int socket, const settings& with)
        : socket_(socket)
        , with_(with)
        , memory_(with.size * with.depth)
    {}

    void run()
    {
        using clock = std::chrono::steady_clock;
        for (std::size_t i = 0; i != with_.depth; ++i) {
            request();
        }
        turn_until(clock::now() + std::chrono::milliseconds(200)); // the window has opened, the pages are there
        const auto before = completed_;
        const auto began = clock::now();
        turn_until(began + std::chrono::seconds(with_.seconds));
        const std::chrono::duration<double> elapsed = clock::now() - began;
        const auto operations = static_cast<double>(completed_ - before) / elapsed.count();
        std::printf(
            "{\"bytes_per_second\":%.0f,\"operations_per_second\":%.1f,\"size\":%zu,\"depth\":%zu,\"seconds\":%.3f}\n",
            operations * static_cast<double>(with_.size), operations, with_.size, with_.depth, elapsed.count());
    }

private:
    template <class Instant>
    void turn_until(Instant end)
    {
        do {
            for (int i = 0; i != 64; ++i) {
                receive();
            }
        } while (std::chrono::steady_clock::now() < end);
    }

    void request()
    {
        header wanted;
        wanted.extent = scramble(state_) % (with_.data / with_.size);
        // As many requests as are outstanding fit any socket buffer: it neither blocks nor is cut short.
        if (::send(socket_, &wanted, sizeof wanted, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof wanted)) {
            die("send");
        }
    }

    void receive()
    {
        std::byte* to = nullptr;
        std::size_t length = 0;
        if (got_ < header_bytes) {
            to = reinterpret_cast<std::byte*>(&answer_) + got_;
            length = header_bytes - got_;
        } else {
            to = memory_.data() + completed_ % with_.depth * with_.size + (got_ - header_bytes);
            length = header_bytes + with_.size - got_;
        }
        const auto got = ::recv(socket_, to, length, MSG_DONTWAIT);
        if (!moved(got, "recv")) {
            return;
        }
        got_ += static_cast<std::size_t>(got);
        if (got_ == header_bytes + with_.size) {
            got_ = 0;
            ++completed_;
            request();
        }
    }

    int socket_;
    settings with_;
    std::vector<std::byte> memory_;
    header answer_;
    std::size_t got_ = 0; // of the answer that is coming
    std::uint64_t completed_ = 0;
    std::uint64_t state_ = 2463534242U;
};

settings parse(int count, char** values)
{
    settings with;
    for (int i = 1; i < count; i += 2) {
        const std::string_view name = values[i];
        auto* const into = name == "--size" ? &with.size
            : name == "--depth"             ? &with.depth
            : name == "--seconds"           ? &with.seconds
            : name == "--data"              ? &with.data
                                            : nullptr;
        const std::string_view text = i + 1 < count ? values[i + 1] : "";
        if (into == nullptr || std::from_chars(text.data(), text.data() + text.size(), *into).ec != std::errc()) {
            std::fputs("usage: bare_socket [--size BYTES] [--depth N] [--seconds S] [--data BYTES]\n", stderr);
            std::exit(2);
        }
    }
    if (with.size == 0 || with.depth == 0 || with.data < with.size) {
        std::fputs("bare_socket: size and depth are at least 1, data at least size\n", stderr);
        std::exit(2);
    }
    return with;
}

} // namespace

int main(int count, char** values)
{
    const auto with = parse(count, values);
    const int listening = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof name;
    tune(listening); // the buffers of what it accepts
    if (::bind(listening, reinterpret_cast<sockaddr*>(&name), length) != 0 || ::listen(listening, 1) != 0
        || ::getsockname(listening, reinterpret_cast<sockaddr*>(&name), &length) != 0) {
        die("listen");
    }
    const pid_t child = ::fork();
    if (child < 0) {
        die("fork");
    }
    if (child == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        const int accepted = ::accept(listening, nullptr, nullptr);
        if (accepted < 0) {
            die("accept");
        }
        ::close(listening);
        server(accepted, with).run();
    }
    ::close(listening);
    const int connected = ::socket(AF_INET, SOCK_STREAM, 0);
    tune(connected);
    if (::connect(connected, reinterpret_cast<sockaddr*>(&name), sizeof name) != 0) {
        die("connect");
    }
    client(connected, with).run();
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    return 0;
}
