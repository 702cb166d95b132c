// The kill test: this process, and another one that is killed in the middle of the traffic between them, again and again. What was
// under way ends, once; what was held is given back; and with the next one traffic goes on.

#include "survivor.hpp"

#include <boost/asio/io_context.hpp>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace penstock;
using namespace std::chrono_literals;

namespace {

struct settings {
    std::string transport = "tcp";
    std::string address = "127.0.0.1";
    std::string victim = "owner";
    std::uint64_t kills = 40;
    std::uint64_t seed = 1;
    std::uint16_t port = 0; // set: this is the victim, a user of that port
    int tell = -1;          // set: this is the victim, an owner that writes its port there
};

transport_choice transport_of(const settings& wanted)
{
    return parse_transport_choice(wanted.transport).value();
}

/// What this process holds.
struct ledger {
    std::size_t descriptors = 0;
    std::size_t pool = 0;
    std::size_t messages = 0;
    std::size_t outstanding = 0;
    std::size_t quarantined = 0;

    bool operator==(const ledger&) const = default;
};

ledger take(runtime& rt)
{
    ledger now;
    const std::filesystem::directory_iterator all("/proc/self/fd");
    now.descriptors = static_cast<std::size_t>(std::distance(begin(all), end(all)));
    now.pool = rt.pool().statistics().in_use;
    now.messages = rt.messages().statistics().in_use;
    now.outstanding = rt.poller().outstanding();
    now.quarantined = rt.pool().statistics().quarantined;
    return now;
}

/// The other process, another program run of this one's file.
class victim {
public:
    victim(const settings& wanted, std::uint16_t owner_port)
    {
        int ends[2];
        if (::pipe(ends) != 0) {
            std::perror("pipe");
            std::exit(EXIT_FAILURE);
        }
        child_ = ::fork();
        if (child_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            ::close(ends[0]);
            const auto role
                = owner_port == 0 ? "--tell=" + std::to_string(ends[1]) : "--port=" + std::to_string(owner_port);
            ::execl("/proc/self/exe", "kill_test", "--transport", wanted.transport.c_str(), "--address",
                wanted.address.c_str(), role.c_str(), static_cast<char*>(nullptr));
            std::_Exit(EXIT_FAILURE);
        }
        ::close(ends[1]);
        if (owner_port == 0 && ::read(ends[0], &port, sizeof port) != sizeof port) {
            std::puts("kill: FAILED: the other process does not start");
            std::exit(EXIT_FAILURE);
        }
        ::close(ends[0]);
    }
    victim(const victim&) = delete;
    victim& operator=(const victim&) = delete;
    ~victim()
    {
        ::kill(child_, SIGKILL);
        ::waitpid(child_, nullptr, 0);
    }

    std::uint16_t port = 0;

private:
    pid_t child_ = -1;
};

int be_victim(const settings& wanted)
{
    boost::asio::io_context context;
    runtime rt(context.get_executor(), kill_test::shape(transport_of(wanted)));
    const auto address = boost::asio::ip::make_address(wanted.address);
    if (wanted.port != 0) {
        kill_test::user one(rt, transport_of(wanted));
        one.start({address, wanted.port});
        context.run();
        return EXIT_FAILURE; // it was to be killed
    }
    const kill_test::owner one(rt, transport_of(wanted), address);
    const auto port = one.port();
    if (::write(wanted.tell, &port, sizeof port) != sizeof port) {
        return EXIT_FAILURE;
    }
    context.run();
    return EXIT_FAILURE;
}

class trial {
public:
    explicit trial(const settings& wanted)
        : wanted_(wanted)
        , random_(wanted.seed)
        , runtime_(context_.get_executor(), kill_test::shape(transport_of(wanted)))
    {
        const auto address = boost::asio::ip::make_address(wanted.address);
        if (wanted_.victim == "owner") {
            user_.emplace(runtime_, transport_of(wanted_));
        } else {
            owner_.emplace(runtime_, transport_of(wanted_), address);
        }
    }

    int run()
    {
        for (std::uint64_t kill = 0; kill != wanted_.kills; ++kill) {
            if (const char* const fault = once()) {
                std::printf("kill: FAILED: kill %lu: %s\n", kill, fault);
                return EXIT_FAILURE;
            }
        }
        if (user_ && user_->failed() < wanted_.kills) {
            std::puts("kill: FAILED: too seldom was anything under way");
            return EXIT_FAILURE;
        }
        std::printf("kill: transport=%s victim=%s kills=%lu succeeded=%lu failed=%lu longest_pause_ms=%ld\n",
            wanted_.transport.c_str(), wanted_.victim.c_str(), wanted_.kills, user_ ? user_->succeeded() : 0,
            user_ ? user_->failed() : 0, longest_ms_);
        return EXIT_SUCCESS;
    }

private:
    static constexpr auto patience = 30s;

    /// A victim comes, works for a while, and is killed. What went wrong, or null.
    const char* once()
    {
        {
            const victim other(wanted_, owner_ ? owner_->port() : std::uint16_t{0});
            const auto before = progress();
            if (user_) {
                user_->start({boost::asio::ip::make_address(wanted_.address), other.port});
            }
            if (!run_until([&] { return progress() != before; })) {
                return "no traffic";
            }
            if (started_) {
                const auto pause = runtime_.time().now() - killed_;
                longest_ms_ = std::max<long>(longest_ms_, static_cast<long>(pause / 1ms));
                if (pause > 5s) {
                    return "traffic did not go on within five seconds of the kill";
                }
            }
            const auto enough
                = saturating_add(runtime_.time().now(), std::chrono::microseconds(uniform_below(random_, 20'000)));
            (void)run_until([&] { return runtime_.time().now() >= enough; });
            killed_ = runtime_.time().now();
        }
        if (!run_until([&] { return at_rest(); })) {
            return "something is still under way";
        }
        if (user_ && user_->faults() != 0) {
            return "an operation ended twice";
        }
        if (!std::exchange(started_, true)) {
            baseline_ = take(runtime_); // what the first connection leaves behind for good
        }
        if (!run_until([&] { return take(runtime_) == baseline_; })) {
            const auto now = take(runtime_);
            std::printf("kill: descriptors %zu (%zu) pool %zu (%zu) messages %zu (%zu) outstanding %zu (%zu) "
                        "quarantined %zu (%zu)\n",
                now.descriptors, baseline_.descriptors, now.pool, baseline_.pool, now.messages, baseline_.messages,
                now.outstanding, baseline_.outstanding, now.quarantined, baseline_.quarantined);
            return "not everything was given back";
        }
        return nullptr;
    }

    /// Operations of the survivor's, or connections on which the other's were seen.
    std::uint64_t progress() const { return user_ ? user_->succeeded() : owner_->worked(); }
    bool at_rest() const { return user_ ? user_->at_rest() : owner_->at_rest(); }

    bool run_until(const std::function<bool()>& reached)
    {
        const auto limit = saturating_add(runtime_.time().now(), patience);
        while (!reached()) {
            if (runtime_.time().now() > limit) {
                return false;
            }
            if (context_.stopped()) {
                context_.restart();
            }
            (void)context_.run_one_for(1ms);
        }
        return true;
    }

    settings wanted_;
    seeded_random_source random_;
    boost::asio::io_context context_;
    runtime runtime_;
    std::optional<kill_test::user> user_;
    std::optional<kill_test::owner> owner_;
    bool started_ = false;
    time_point killed_{};
    ledger baseline_;
    long longest_ms_ = 0;
};

} // namespace

int main(int count, char** values)
{
    settings wanted;
    if (const char* const given = std::getenv("PENSTOCK_ADDRESS"); given != nullptr) {
        wanted.address = given;
    }
    CLI::App command("a peer is killed in the middle of its traffic");
    command.add_option("--transport", wanted.transport, "tcp or verbs")->check(CLI::IsMember({"tcp", "verbs"}));
    command.add_option("--address", wanted.address, "of this machine");
    command.add_option("--victim", wanted.victim, "owner or user: who is killed")
        ->check(CLI::IsMember({"owner", "user"}));
    command.add_option("--kills", wanted.kills, "this many times")->check(CLI::PositiveNumber);
    command.add_option("--seed", wanted.seed, "of the moments");
    command.add_option("--port", wanted.port)->group("");
    command.add_option("--tell", wanted.tell)->group("");
    CLI11_PARSE(command, count, values);
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    return wanted.port != 0 || wanted.tell >= 0 ? be_victim(wanted) : trial(wanted).run();
}
