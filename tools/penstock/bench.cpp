#include "bench_load.hpp"
#include "commands.hpp"
#include "report.hpp"
#include "store.hpp"

#include <penstock/core/byte_size.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <deque>

namespace penstock::command {
namespace {

constexpr std::uint64_t object_bytes = std::uint64_t{64} << 20U;
constexpr std::size_t objects_max = 128; // handles that a server gives one connection, with room to spare
constexpr std::size_t list_scratch_bytes = std::size_t{64} << 10U;
constexpr std::size_t slices_of_preparation = 4;

double microseconds(std::uint64_t nanoseconds)
{
    return static_cast<double>(nanoseconds) / 1000.0;
}

class bench_command {
public:
    explicit bench_command(const bench_arguments& arguments)
        : arguments_(arguments)
        , where_(require_uri(arguments.uri))
    {
        if (arguments_.data < arguments_.size) {
            throw failure(exit_status::usage,
                fmt::format("--data {} is less than one extent of --size {}", format_byte_size(arguments_.data),
                    format_byte_size(arguments_.size)));
        }
    }

    exit_status run()
    {
        session_options wanted;
        wanted.transport = arguments_.effective_transport();
        wanted.stall_limit = arguments_.stall_limit();
        wanted.checksum = arguments_.checksum;
        wanted.depth = arguments_.depth;
        wanted.slice_bytes = std::max(static_cast<std::size_t>(arguments_.size), list_scratch_bytes);
        wanted.slices = arguments_.depth + slices_of_preparation;
        wanted.log = make_logger(arguments_);
        session on(where_, wanted);
        on.run([this](session& opened) { return measure(opened); });
        if (on.stopped()) {
            fmt::print(stderr, "penstock bench: {}\n",
                on.signal() != 0
                    ? std::string("interrupted")
                    : fmt::format("connection to {} lost ({})", server_name(where_), explain(on.stopped())));
            return status_of_stop(on);
        }
        return outcome_.errors == 0 ? exit_status::success : exit_status::failed;
    }

private:
    awaitable<void> measure(session& on)
    {
        const auto& properties = on.properties();
        if (arguments_.size > properties.transfer_bytes_max) {
            throw failure(exit_status::usage,
                fmt::format("--size {}: one request moves at most {}", format_byte_size(arguments_.size),
                    format_byte_size(properties.transfer_bytes_max)));
        }
        store objects(on);
        std::vector<bench_object> opened;
        if (arguments_.write) {
            opened = co_await create_object(objects);
        } else {
            opened = co_await open_objects(on, objects);
        }
        bench_options wanted;
        wanted.write = arguments_.write;
        wanted.size = static_cast<std::size_t>(arguments_.size);
        wanted.depth = std::min(arguments_.depth, properties.depth);
        wanted.length = std::chrono::duration_cast<duration>(std::chrono::duration<double>(arguments_.seconds));
        for (const auto& object : opened) {
            data_bytes_ += object.size / wanted.size * wanted.size;
        }
        bench_load load(on, opened, wanted);
        outcome_ = co_await load.run();
        for (const auto& object : opened) {
            co_await objects.close(object.handle); // what was created is dropped
        }
        if (!on.stopped()) {
            print(properties, wanted);
        }
    }

    [[noreturn]] void fail(const session& on, std::string_view name, const error_code& ec) const
    {
        throw failure(on.stopped() ? status_of_stop(on) : exit_status::failed,
            fmt::format("{}: {}", name.empty() ? std::string("/") : printable(name), explain(ec)));
    }

    awaitable<std::vector<bench_object>> create_object(store& objects)
    {
        const auto name = where_.names_directory ? join_path("bench-write") : where_.name;
        const auto size = arguments_.data / arguments_.size * arguments_.size;
        constexpr std::uint32_t permissions = 0600;
        const auto handle = co_await objects.create(name, size, permissions);
        if (!handle) {
            throw failure(exit_status::failed, fmt::format("{}: {}", printable(name), explain(handle.error())));
        }
        co_return std::vector<bench_object>{{*handle, size}};
    }

    awaitable<std::vector<bench_object>> open_objects(session& on, store& objects)
    {
        std::vector<std::string> names;
        if (where_.names_directory) {
            names = co_await prepare(on, objects);
        } else {
            names = co_await find(on, objects);
        }
        std::vector<bench_object> opened;
        for (const auto& name : names) {
            const auto object = co_await objects.open(name, memory::local_buffer());
            if (!object) {
                fail(on, name, object.error());
            }
            opened.push_back({object->handle, object->info.size});
        }
        co_return opened;
    }

    // The objects of a file or of the directories beneath a name, as far as they have room for an extent.
    awaitable<std::vector<std::string>> find(session& on, store& objects)
    {
        const auto info = co_await objects.stat(where_.name);
        if (!info) {
            fail(on, where_.name, info.error());
        }
        std::vector<std::string> names;
        std::deque<std::string> directories;
        if (info->kind == storage::object_kind::directory) {
            directories.push_back(where_.name);
        } else if (info->size >= arguments_.size) {
            names.push_back(where_.name);
        }
        while (!directories.empty() && names.size() < objects_max) {
            const auto directory = std::move(directories.front());
            directories.pop_front();
            const auto entries = co_await objects.list(directory);
            if (!entries) {
                fail(on, directory, entries.error());
            }
            for (const auto& entry : *entries) {
                auto name = directory.empty() ? entry.name : directory + '/' + entry.name;
                if (entry.info.kind == storage::object_kind::directory) {
                    directories.push_back(std::move(name));
                } else if (entry.info.size >= arguments_.size && names.size() < objects_max) {
                    names.push_back(std::move(name));
                }
            }
        }
        if (names.empty()) {
            throw failure(exit_status::failed,
                fmt::format("{}: no object of at least --size {} there; end the URI in '/' to have some made",
                    printable(arguments_.uri), format_byte_size(arguments_.size)));
        }
        co_return names;
    }

    // Makes what is not there yet with the right size.
    awaitable<std::vector<std::string>> prepare(session& on, store& objects)
    {
        const auto each = std::max(object_bytes, arguments_.size);
        const auto wanted = std::min(arguments_.data, each * objects_max);
        std::vector<std::string> names;
        for (std::uint64_t begin = 0; begin < wanted; begin += each) {
            const auto size = std::min(each, wanted - begin);
            if (size < arguments_.size) {
                break;
            }
            auto name = join_path(fmt::format("bench-{:03}", names.size()));
            const auto info = co_await objects.stat(name);
            if (!info && info.error() != errc::not_found) {
                fail(on, name, info.error());
            }
            if (!info || info->kind != storage::object_kind::file || info->size != size) {
                co_await fill(on, objects, name, size);
            }
            names.push_back(std::move(name));
        }
        co_return names;
    }

    struct filling {
        storage::object_handle handle;
        std::uint64_t size = 0;
        std::uint64_t next = 0;
        error_code error{};
    };

    awaitable<void> fill(session& on, store& objects, const std::string& name, std::uint64_t size)
    {
        constexpr std::uint32_t permissions = 0644;
        const auto handle = co_await objects.create(name, size, permissions);
        if (!handle) {
            fail(on, name, handle.error());
        }
        filling of{*handle, size};
        seeded_random_source random(system_random_source().next());
        task_group writers(on.executor());
        for (std::size_t i = 0; i != slices_of_preparation; ++i) {
            writers.spawn(fill_pieces(on, objects, of, random));
        }
        co_await writers.join();
        if (!of.error) {
            of.error = co_await objects.commit(of.handle, storage::durability::received);
        } else {
            co_await objects.close(of.handle);
        }
        if (of.error) {
            fail(on, name, of.error);
        }
    }

    static awaitable<void> fill_pieces(session& on, store& objects, filling& of, random_source& random)
    {
        const auto piece = std::min(on.slice_bytes(), on.properties().transfer_bytes_max);
        auto slice = co_await on.acquire_slice();
        if (!slice) {
            of.error = slice.error();
            co_return;
        }
        while (!of.error && of.next != of.size) {
            const auto offset = of.next;
            const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(piece, of.size - offset));
            of.next += length;
            const auto from = slice->buffer.slice(0, length);
            random.fill(from.bytes());
            if (const auto ec = co_await objects.write(of.handle, offset, from)) {
                of.error = ec;
            }
        }
    }

    std::string join_path(const std::string& name) const
    {
        return where_.name.empty() ? name : where_.name + '/' + name;
    }

    void print(const storage::client::properties& properties, const bench_options& used) const
    {
        const double seconds = std::chrono::duration<double>(outcome_.elapsed).count();
        const double operations = seconds > 0 ? static_cast<double>(outcome_.operations) / seconds : 0.0;
        const double rate = operations * static_cast<double>(used.size);
        const auto& latency = outcome_.latency_ns;
        const auto p50 = microseconds(latency.quantile(0.5));
        const auto p99 = microseconds(latency.quantile(0.99));
        const auto p99_9 = microseconds(latency.quantile(0.999));
        const auto highest = microseconds(latency.maximum());
        const char* const name = arguments_.write ? "write" : "read";
        if (arguments_.json) {
            const nlohmann::ordered_json object{
                {"command", fmt::format("bench {}", name)},
                {"uri", to_string(where_)},
                {"bytes_per_second", rate},
                {"operations_per_second", operations},
                {"latency_us", {{"p50", p50}, {"p99", p99}, {"p99_9", p99_9}, {"max", highest}}},
                {"transport", fabric::to_string(properties.transport)},
                {"transport_reason", properties.transport_reason},
                {"checksum", to_string(properties.checksum)},
                {"size", used.size},
                {"depth", used.depth},
                {"depth_wanted", arguments_.depth},
                {"seconds", seconds},
                {"data", data_bytes_},
                {"operations", outcome_.operations},
                {"errors", outcome_.errors},
                {"first_error", outcome_.first_error ? explain(outcome_.first_error) : std::string()},
            };
            fmt::print("{}\n", object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
        } else {
            fmt::print(
                "{} {} x {} for {:.2f}s: {}, {:.0f}/s; latency p50 {:.1f} us, p99 {:.1f} us, p99.9 {:.1f} us, max "
                "{:.1f} us; {} of data; {} ({}), checksum {}\n",
                name, used.depth, format_byte_size(used.size), seconds, format_byte_rate(rate), operations, p50, p99,
                p99_9, highest, format_byte_size(data_bytes_), fabric::to_string(properties.transport),
                properties.transport_reason, to_string(properties.checksum));
            if (used.depth != arguments_.depth) {
                fmt::print("the server allows {} requests at once, not {}\n", used.depth, arguments_.depth);
            }
            if (outcome_.errors != 0) {
                fmt::print(stderr, "penstock bench: {} operations failed, the first: {}\n", outcome_.errors,
                    explain(outcome_.first_error));
            }
        }
        std::fflush(stdout);
    }

    const bench_arguments& arguments_;
    storage::uri where_;
    std::uint64_t data_bytes_ = 0;
    bench_outcome outcome_;
};

} // namespace

exit_status run_bench(const bench_arguments& arguments)
{
    return bench_command(arguments).run();
}

} // namespace penstock::command
