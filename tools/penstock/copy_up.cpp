#include "copy_up.hpp"

#include "failure.hpp"

namespace penstock::command {
namespace {

std::string put_message(const error_code& ec)
{
    if (ec == errc::changed_underneath) {
        return "changed while it was read, nothing of it was stored: put it again";
    }
    if (ec == errc::is_directory) {
        return "a directory has this name at the server: end the URI in '/' to put it inside";
    }
    if (ec == errc::already_exists) {
        return "a file has this directory's name at the server: remove it, or choose another name";
    }
    if (ec == errc::not_directory) {
        return "a file at the server has the name of one of its directories";
    }
    if (ec == errc::no_space) {
        return "no space left at the server, nothing of it was stored: make room there";
    }
    if (ec == errc::not_supported) {
        return "not a regular file any more";
    }
    return explain(ec);
}

// A file opened for sending; its bytes as well when they fit a piece.
struct opened_source {
    result<source_file> file;
    bool is_small = false;
    error_code error{};
};

opened_source open_source(const std::string& path, std::span<std::byte> piece)
{
    opened_source opened{source_file::open(path)};
    if (!opened.file) {
        opened.error = opened.file.error();
        return opened;
    }
    const auto size = opened.file->status().size;
    opened.is_small = size <= piece.size();
    if (opened.is_small) {
        opened.error = opened.file->read(piece.first(static_cast<std::size_t>(size)), 0);
        if (!opened.error) {
            opened.error = opened.file->check_unchanged();
        }
    }
    return opened;
}

} // namespace

struct copy_up::upload {
    const source_file& file;
    storage::object_handle handle;
    std::uint64_t size = 0;
    std::uint64_t next = 0; // the first byte that nobody has taken yet
    error_code error{};
};

awaitable<bool> copy_up::run()
{
    task_group workers(context_->on.executor());
    const auto count = std::min(files_at_once, plan_->files.size() + plan_->empty_directories.size());
    for (std::size_t i = 0; i != count; ++i) {
        workers.spawn(take_files());
    }
    co_await workers.join();
    const bool all_begun = next_file_ == plan_->files.size() && next_directory_ == plan_->empty_directories.size();
    co_return complete_&& all_begun;
}

awaitable<void> copy_up::take_files()
{
    auto& done = context_->done;
    while (next_file_ != plan_->files.size() && !context_->on.stopped()) {
        const auto& planned = plan_->files[next_file_++];
        const auto ec = co_await copy_file(planned);
        if (context_->on.stopped() && ec) {
            complete_ = false;
            co_return;
        }
        if (ec) {
            report_error(done, context_->meter, planned.path, put_message(ec));
        }
        ++context_->meter.counts.files_done;
        context_->meter.tick();
    }
    while (next_directory_ != plan_->empty_directories.size() && !context_->on.stopped()) {
        const auto& name = plan_->empty_directories[next_directory_++];
        const auto ec = co_await context_->objects.make_directory(name);
        if (ec && context_->on.stopped()) {
            complete_ = false;
        } else if (ec) {
            report_error(done, context_->meter, name, put_message(ec));
        }
    }
}

awaitable<error_code> copy_up::copy_file(const planned_file& planned)
{
    const auto piece = context_->piece_bytes();
    auto slice = co_await context_->on.acquire_slice();
    if (!slice) {
        co_return slice.error();
    }
    const auto bytes = slice->buffer.bytes().first(piece);
    const auto opened = co_await run_blocking(context_->on.files(), [&] { return open_source(planned.path, bytes); });
    if (opened.error) {
        co_return opened.error;
    }
    const auto& status = opened.file->status();
    if (!opened.is_small) {
        // Its pieces need this slice.
        slice = session::slice();
        const auto ec = co_await copy_large(*opened.file, planned.name);
        if (!ec) {
            ++context_->done.files;
            context_->done.bytes += status.size;
        }
        co_return ec;
    }
    const auto length = static_cast<std::size_t>(status.size);
    const auto ec
        = co_await context_->objects.put(planned.name, status.permissions, durability_, slice->buffer.slice(0, length));
    if (!ec) {
        ++context_->done.files;
        context_->done.bytes += status.size;
        context_->meter.counts.bytes_done += status.size;
    }
    co_return ec;
}

awaitable<error_code> copy_up::copy_large(const source_file& file, const std::string& name)
{
    auto& objects = context_->objects;
    const auto size = file.status().size;
    const auto handle = co_await objects.create(name, size, file.status().permissions);
    if (!handle) {
        co_return handle.error();
    }
    upload of{file, *handle, size};
    task_group pieces(context_->on.executor());
    for (std::size_t i = 0; i != slices_of_a_file; ++i) {
        pieces.spawn(take_pieces(of));
    }
    co_await pieces.join();
    if (!of.error) {
        of.error = file.check_unchanged();
    }
    if (of.error) {
        co_await objects.close(of.handle);
        co_return of.error;
    }
    co_return co_await objects.commit(of.handle, durability_);
}

awaitable<void> copy_up::take_pieces(upload& of)
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
        const auto target = slice->buffer.slice(0, length);
        auto ec = co_await run_blocking(context_->on.files(), [&] { return of.file.read(target.bytes(), offset); });
        if (!ec) {
            ec = co_await context_->objects.write(of.handle, offset, target);
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
