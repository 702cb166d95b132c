#include "copy_down.hpp"

#include "failure.hpp"

#include <fmt/format.h>

namespace penstock::command {
namespace {

std::string get_message(const error_code& ec)
{
    if (ec == boost::system::errc::no_space_on_device) {
        return "no space left here, nothing of it was kept: make room, or choose another destination";
    }
    if (ec == boost::system::errc::too_many_symbolic_link_levels || ec == boost::system::errc::not_a_directory) {
        return "a component of its name is a symbolic link or a file here: links are not followed beneath the "
               "destination";
    }
    if (ec == boost::system::errc::is_a_directory || ec == boost::system::errc::file_exists) {
        return "a directory has this name here: remove it, or choose another destination";
    }
    if (ec == errc::outside_root) {
        return "the server refuses it: a symbolic link there leads out of the served tree";
    }
    return explain(ec);
}

bool is_one_component(std::string_view name)
{
    return !name.empty() && name != "." && name != ".." && name.find('/') == std::string_view::npos
        && name.find('\0') == std::string_view::npos && name.size() <= storage::component_bytes_max;
}

error_code write_whole(int root, const std::string& name, std::span<const std::byte> bytes, std::uint32_t permissions)
{
    auto file = new_file::create(root, name, bytes.size());
    if (!file) {
        return file.error();
    }
    if (const auto ec = file->write(bytes, 0)) {
        return ec;
    }
    return file->commit(permissions);
}

// Lists the directories of one depth, several at a time.
class level_lister {
public:
    level_lister(copy_context& context, get_plan& plan)
        : context_(&context)
        , plan_(&plan)
    {}

    awaitable<void> run(planned_object top)
    {
        current_.push_back(std::move(top));
        while (!current_.empty() && !context_->on.stopped()) {
            next_ = 0;
            deeper_.clear();
            task_group listers(context_->on.executor());
            constexpr std::size_t lists_at_once = 8;
            for (std::size_t i = 0; i != std::min(lists_at_once, current_.size()); ++i) {
                listers.spawn(take_directories());
            }
            co_await listers.join();
            for (auto& directory : current_) {
                plan_->directories.push_back(std::move(directory));
            }
            current_ = std::move(deeper_);
        }
    }

private:
    awaitable<void> take_directories()
    {
        while (next_ != current_.size() && !context_->on.stopped()) {
            const auto& directory = current_[next_++];
            auto entries = co_await context_->objects.list(directory.name);
            if (entries) {
                add(directory, *entries);
            } else if (!context_->on.stopped()) {
                report_error(context_->done, context_->meter, directory.name, get_message(entries.error()));
            }
        }
    }

    void add(const planned_object& directory, std::vector<storage::list_entry>& entries)
    {
        for (auto& entry : entries) {
            if (!is_one_component(entry.name)) {
                report_error(
                    context_->done, context_->meter, directory.name, "the server gives an impossible name in it");
                continue;
            }
            if (plan_->files.size() + plan_->directories.size() + deeper_.size() >= planned_entries_max) {
                throw failure(exit_status::failed,
                    fmt::format("more than {} entries: get its directories one at a time", planned_entries_max));
            }
            planned_object found{
                join_name(directory.name, entry.name), join_name(directory.local, entry.name), entry.info};
            if (entry.info.kind == storage::object_kind::directory) {
                deeper_.push_back(std::move(found));
            } else {
                plan_->bytes += entry.info.size;
                plan_->files.push_back(std::move(found));
            }
        }
    }

    copy_context* context_;
    get_plan* plan_;
    std::vector<planned_object> current_;
    std::vector<planned_object> deeper_;
    std::size_t next_ = 0;
};

} // namespace

awaitable<get_plan> plan_get(copy_context& context, const std::vector<copy_pair>& pairs)
{
    get_plan plan;
    for (const auto& pair : pairs) {
        auto info = co_await context.objects.stat(pair.from);
        if (context.on.stopped()) {
            break;
        }
        if (!info) {
            report_error(context.done, context.meter, pair.from, get_message(info.error()));
            continue;
        }
        planned_object top{pair.from, pair.to, *info};
        if (info->kind == storage::object_kind::directory) {
            level_lister lister(context, plan);
            co_await lister.run(std::move(top));
        } else {
            plan.bytes += info->size;
            plan.files.push_back(std::move(top));
        }
    }
    co_return plan;
}

struct copy_down::download {
    storage::object_handle handle;
    new_file file;
    std::uint64_t size = 0;
    std::uint64_t next = 0; // the first byte that nobody has taken yet
    std::uint32_t permissions = 0;
    error_code error{};
};

awaitable<bool> copy_down::run()
{
    co_await make_directories();
    task_group workers(context_->on.executor());
    for (std::size_t i = 0; i != std::min(files_at_once, plan_->files.size()); ++i) {
        workers.spawn(take_files());
    }
    co_await workers.join();
    // Last, and the inner ones first: a directory may well not be writable.
    for (auto directory = made_.rbegin(); directory != made_.rend(); ++directory) {
        const auto& planned = **directory;
        const auto ec = set_directory_permissions(root_, planned.local, planned.info.permissions);
        if (ec) {
            report_error(context_->done, context_->meter, planned.local, get_message(ec));
        }
    }
    co_return complete_&& next_file_ == plan_->files.size();
}

awaitable<void> copy_down::make_directories()
{
    for (const auto& planned : plan_->directories) {
        if (context_->on.stopped()) {
            complete_ = false;
            co_return;
        }
        bool made = false;
        if (!planned.local.empty()) {
            const auto ec = co_await run_blocking(
                context_->on.files(), [&] { return make_directory_beneath(root_, planned.local, made); });
            if (ec) {
                report_error(context_->done, context_->meter, planned.local, get_message(ec));
                continue;
            }
        }
        ++context_->done.directories;
        if (made) {
            made_.push_back(&planned);
        }
    }
}

awaitable<void> copy_down::take_files()
{
    while (next_file_ != plan_->files.size() && !context_->on.stopped()) {
        const auto& planned = plan_->files[next_file_++];
        const auto ec = co_await copy_file(planned);
        if (context_->on.stopped() && ec) {
            complete_ = false;
            co_return;
        }
        if (ec) {
            report_error(context_->done, context_->meter, planned.name, get_message(ec));
        }
        ++context_->meter.counts.files_done;
        context_->meter.tick();
    }
}

awaitable<error_code> copy_down::copy_file(const planned_object& planned)
{
    auto slice = co_await context_->on.acquire_slice();
    if (!slice) {
        co_return slice.error();
    }
    const auto first = slice->buffer.slice(0, context_->piece_bytes());
    const auto opened = co_await context_->objects.open(planned.name, first);
    if (!opened) {
        co_return opened.error();
    }
    const auto& info = opened->info;
    const auto got = first.bytes().first(opened->bytes);
    context_->meter.counts.bytes_done += got.size();
    error_code ec;
    if (opened->bytes == info.size) {
        ec = co_await run_blocking(
            context_->on.files(), [&] { return write_whole(root_, planned.local, got, info.permissions); });
        if (opened->handle.id != 0) {
            co_await context_->objects.close(opened->handle);
        }
    } else {
        download of{opened->handle, {}, info.size, opened->bytes, info.permissions};
        of.error = co_await run_blocking(context_->on.files(), [&]() -> error_code {
            auto file = new_file::create(root_, planned.local, info.size);
            if (!file) {
                return file.error();
            }
            of.file = std::move(*file);
            return of.file.write(got, 0);
        });
        slice = session::slice(); // its pieces need it
        ec = co_await copy_large(of);
    }
    if (!ec) {
        ++context_->done.files;
        context_->done.bytes += info.size;
    }
    co_return ec;
}

awaitable<error_code> copy_down::copy_large(download& of)
{
    if (!of.error) {
        task_group pieces(context_->on.executor());
        for (std::size_t i = 0; i != slices_of_a_file; ++i) {
            pieces.spawn(take_pieces(of));
        }
        co_await pieces.join();
    }
    co_await context_->objects.close(of.handle);
    if (of.error) {
        co_return of.error;
    }
    co_return co_await run_blocking(context_->on.files(), [&] { return of.file.commit(of.permissions); });
}

awaitable<void> copy_down::take_pieces(download& of)
{
    const auto piece = context_->piece_bytes();
    while (!of.error && of.next != of.size) {
        auto slice = co_await context_->on.acquire_slice();
        if (!slice) {
            of.error = slice.error();
            co_return;
        }
        if (of.error || of.next == of.size) {
            co_return;
        }
        const auto offset = of.next;
        const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(piece, of.size - offset));
        of.next += length;
        const auto into = slice->buffer.slice(0, length);
        const auto bytes = co_await context_->objects.read(of.handle, offset, into);
        error_code ec = bytes ? error_code() : bytes.error();
        if (!ec && *bytes != length) {
            ec = errc::changed_underneath; // the handle's size was promised
        }
        if (!ec) {
            ec = co_await run_blocking(context_->on.files(), [&] { return of.file.write(into.bytes(), offset); });
        }
        if (ec) {
            of.error = ec;
            co_return;
        }
        context_->meter.counts.bytes_done += length;
        context_->meter.tick();
    }
}

} // namespace penstock::command
