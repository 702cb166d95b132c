#include "commands.hpp"
#include "copy_down.hpp"
#include "copy_up.hpp"

#include <fmt/format.h>

#include <cstdio>

#include <sys/stat.h>
#include <unistd.h>

namespace penstock::command {
namespace {

progress_meter::style meter_style(const copy_arguments& arguments)
{
    if (arguments.json) {
        return progress_meter::style::silent;
    }
    // Log lines would cut a bar in pieces.
    const bool bar = ::isatty(STDERR_FILENO) != 0 && arguments.verbosity == 0;
    return bar ? progress_meter::style::bar : progress_meter::style::lines;
}

session_options session_options_of(const copy_arguments& arguments)
{
    session_options wanted;
    wanted.transport = arguments.effective_transport();
    wanted.stall_limit = arguments.stall_limit();
    wanted.checksum = arguments.checksum;
    wanted.log = make_logger(arguments);
    return wanted;
}

bool is_directory(const std::string& path)
{
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

// One copy: the report is printed whatever happens.
class copy_command {
public:
    copy_command(const copy_arguments& arguments, const char* name)
        : arguments_(arguments)
        , time_(system_clock_source())
        , meter_(stderr, meter_style(arguments), time_, name)
        , started_(time_.now())
    {
        done_.command = name;
    }

    report& done() noexcept { return done_; }
    progress_meter& meter() noexcept { return meter_; }

    /// Connects and copies. `body` says whether it came to its end.
    template <class Body>
    void run(const storage::uri& server, Body body)
    {
        session on(server, session_options_of(arguments_));
        on.on_tick([this] { meter_.tick(); });
        bool complete = false;
        on.run([&](session& opened) -> awaitable<void> {
            done_.take_transport(opened.properties());
            store objects(opened);
            copy_context context{opened, objects, done_, meter_};
            complete = co_await body(context);
        });
        // A connection that is lost when everything is done does not matter any more.
        if (on.stopped() && !complete) {
            ended_ = status_of_stop(on);
            const std::string why = on.signal() != 0
                ? std::string("interrupted: what was not complete is not kept")
                : fmt::format(
                    "connection to {} lost ({}): is the server still running? What was not complete is not kept",
                    server_name(server), explain(on.stopped()));
            report_error(done_, meter_, {}, why);
        }
    }

    exit_status end()
    {
        meter_.erase();
        report_rest(done_, meter_);
        done_.seconds = std::chrono::duration<double>(time_.now() - started_).count();
        if (arguments_.json) {
            fmt::print("{}\n", done_.to_json());
        } else {
            fmt::print("{}\n", done_.to_line());
        }
        if (std::fflush(stdout) != 0) {
            throw failure(exit_status::failed, "cannot write to standard output");
        }
        if (ended_ != exit_status::success) {
            return ended_;
        }
        return done_.error_count == 0 ? exit_status::success : exit_status::failed;
    }

    /// `body` as a command: a failure becomes the report's last error.
    template <class Body>
    exit_status guard(Body body)
    {
        try {
            body();
        } catch (const failure& failed) {
            if (failed.status() == exit_status::usage) {
                throw;
            }
            report_error(done_, meter_, {}, failed.what());
            ended_ = failed.status();
        }
        return end();
    }

private:
    const copy_arguments& arguments_;
    clock& time_;
    report done_;
    progress_meter meter_;
    time_point started_;
    exit_status ended_ = exit_status::success;
};

void report_plan(const put_plan& plan, copy_command& command, bool verbose)
{
    for (const auto& failed : plan.failed) {
        report_error(
            command.done(), command.meter(), failed.path, failed.what.empty() ? explain(failed.error) : failed.what);
    }
    command.done().links_skipped = plan.links_skipped;
    command.done().others_skipped = plan.others_skipped;
    command.done().directories = plan.directories;
    if (verbose) {
        for (const auto& skipped : plan.skipped) {
            command.meter().line(fmt::format("skipped {}: {}", printable(skipped.path), to_string(skipped.reason)));
        }
    }
}

} // namespace

exit_status run_put(const copy_arguments& arguments)
{
    const auto target = require_uri(arguments.paths.back());
    const auto pairs = name_put({arguments.paths.begin(), arguments.paths.end() - 1}, target);
    copy_command command(arguments, "put");
    return command.guard([&] {
        const auto plan = walk_trees(pairs, arguments.follow);
        report_plan(plan, command, arguments.verbosity != 0);
        if (plan.files.empty() && plan.empty_directories.empty() && !plan.failed.empty()) {
            return; // nothing is left for which a connection would be needed
        }
        command.meter().counts.files_total = plan.files.size();
        command.meter().counts.bytes_total = plan.bytes;
        command.run(target, [&](copy_context& context) -> awaitable<bool> {
            copy_up copy(context, plan, arguments.durability);
            co_return co_await copy.run();
        });
    });
}

exit_status run_get(const copy_arguments& arguments)
{
    std::vector<storage::uri> sources;
    for (auto text = arguments.paths.begin(); text != arguments.paths.end() - 1; ++text) {
        sources.push_back(require_uri(*text));
    }
    const auto& path = arguments.paths.back();
    const auto target = name_get(sources, path, is_directory(path));
    copy_command command(arguments, "get");
    return command.guard([&] {
        command.run(sources.front(), [&](copy_context& context) -> awaitable<bool> {
            const auto plan = co_await plan_get(context, target.pairs);
            if (context.on.stopped() || (plan.files.empty() && plan.directories.empty())) {
                co_return false;
            }
            context.meter.counts.files_total = plan.files.size();
            context.meter.counts.bytes_total = plan.bytes;
            const auto root = open_destination(target.directory);
            if (!root) {
                throw failure(exit_status::failed,
                    fmt::format(
                        "cannot open the destination {}: {}", printable(target.directory), explain(root.error())));
            }
            copy_down copy(context, plan, root->get());
            co_return co_await copy.run();
        });
    });
}

} // namespace penstock::command
