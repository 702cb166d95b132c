// The fence test: exposures are revoked while another process, slow on purpose, still writes. Each buffer is refilled the
// moment its operation has completed, and looked at later: a byte that is not the owner's came after the completion.

#include "owner.hpp"
#include "peer.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <cstdlib>

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace penstock;

namespace {

int report(const fence_test::figures& seen, const fence_test::owner_options& asked)
{
    std::printf(
        "fence: transport=%s memory=%s fence=%s operations=%lu answered=%lu timed_out=%lu late=%lu unanswered=%lu "
        "lanes_lost_unanswered=%lu lanes_lost=%lu fences_failed=%lu quarantined=%lu stray_operations=%lu "
        "stray_bytes=%lu\n",
        std::string(to_string(asked.transport)).c_str(), asked.windows ? "windows" : "registrations",
        asked.fence ? "on" : "off", seen.operations, seen.answered, seen.timed_out, seen.late, seen.unanswered,
        seen.lanes_lost_rude, seen.lanes_lost, seen.fences_failed, seen.quarantined, seen.stray_operations,
        seen.stray_bytes);
    const auto fault = [](bool is, const char* what) {
        if (is) {
            std::printf("fence: FAILED: %s\n", what);
        }
        return is ? 1 : 0;
    };
    int faults = fault(!seen.trouble.empty(), seen.trouble.c_str());
    faults += fault(seen.operations < asked.operations, "fewer operations than asked for");
    faults += fault(seen.stray_bytes != 0, "bytes landed after the completion");
    faults += fault(seen.lanes_lost != 0, "a lane was lost where the peer answered");
    faults += fault(seen.fences_failed != 0 || seen.quarantined != 0, "a fence failed");
    // Where nothing came late nothing was tried.
    faults += fault(seen.late < asked.operations / 100, "too few operations were still written to when time was up");
    faults += fault(seen.answered < asked.operations / 100, "too few operations ended in time");
    faults += fault(seen.unanswered == 0, "no revocation went unanswered");
    return faults == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

} // namespace

int main(int argc, char** argv)
{
    fence_test::owner_options options;
    std::string transport = "tcp";
    std::string memory = "windows";
    bool without_fence = false;
    const char* const given = std::getenv("PENSTOCK_ADDRESS");
    std::string address = given != nullptr ? given : "127.0.0.1";
    CLI::App command("exposures revoked while a slow peer writes");
    command.add_option("--transport", transport, "tcp or verbs")->check(CLI::IsMember({"tcp", "verbs"}));
    command.add_option("--operations", options.operations, "at least this many")->check(CLI::PositiveNumber);
    command.add_option("--memory", memory, "windows or registrations")
        ->check(CLI::IsMember({"windows", "registrations"}));
    command.add_option("--address", address, "of this machine");
    command.add_option("--seed", options.seed, "of the delays");
    command.add_flag("--without-fence", without_fence)->group(""); // to see this test fail
    CLI11_PARSE(command, argc, argv);
    options.transport = parse_transport_choice(transport).value();
    options.windows = memory == "windows";
    options.fence = !without_fence;

    int ends[2];
    if (::pipe(ends) != 0) {
        std::perror("pipe");
        return EXIT_FAILURE;
    }
    const auto where = boost::asio::ip::make_address(address);
    const pid_t peer = ::fork(); // before any device is opened
    if (peer == 0) {
        ::close(ends[0]);
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        fence_test::run_peer(options.transport, where, ends[1]);
    }
    ::close(ends[1]);
    std::uint16_t port = 0;
    if (peer < 0 || ::read(ends[0], &port, sizeof port) != sizeof port) {
        std::printf("fence: FAILED: the peer does not start\n");
        return EXIT_FAILURE;
    }
    options.peer = {where, port};
    const auto seen = fence_test::run_owner(options);
    ::kill(peer, SIGKILL);
    ::waitpid(peer, nullptr, 0);
    return report(seen, options);
}
