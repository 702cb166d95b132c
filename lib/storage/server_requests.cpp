// What a server does for each operation.

#include "storage/server_session.hpp"

#include <penstock/connection/acceptor.hpp>
#include <penstock/core/checksum.hpp>
#include <penstock/transfer/transfer.hpp>

#include <algorithm>
#include <cassert>

namespace penstock::storage {
namespace {

server::implementation& server_of(const job& one)
{
    return *one.from->home;
}

void answer_job(job& one)
{
    answer(one);
}

// The window's bytes are in the slice: checksum them if that is wanted. Runs on a file thread.
void checksum_slice(job& one)
{
    if (one.asked.checksum) {
        one.answer.checksum = true;
        one.answer.crc32c = crc32c(one.slice.bytes().first(static_cast<std::size_t>(one.answer.bytes)));
    }
}

void take_slice_as_data(job& one)
{
    const auto device = one.from->link().data().device().index;
    one.data[0] = one.slice.slice(0, static_cast<std::size_t>(one.answer.bytes)).segment(device);
    one.data_segments = 1;
}

// ---- reading

void open_and_read(job& one)
{
    auto opened = one.store->open_read(one.name);
    if (!opened) {
        return one.fail(opened.error());
    }
    if (opened->info.kind == object_kind::directory) {
        return one.fail(errc::is_directory);
    }
    one.answer.info = opened->info;
    one.answer.checksum = one.asked.checksum;
    if (one.slice) {
        const auto read = read_at(opened->fd.get(), 0, one.window_bytes());
        if (!read) {
            return one.fail(read.error());
        }
        if (*read < one.asked.window.length && *read != opened->info.size) {
            return one.fail(errc::changed_underneath);
        }
        one.answer.bytes = std::min<std::uint64_t>(*read, opened->info.size);
        checksum_slice(one);
    }
    if (one.answer.bytes < opened->info.size) {
        one.object = std::make_shared<open_object>();
        one.object->reading = std::move(*opened);
    }
}

void finish_open(job& one)
{
    if (!one.status.failed()) {
        if (one.object) {
            one.answer.handle = one.from->add_handle(std::move(one.object));
            if (one.answer.handle == 0) {
                one.fail(errc::overloaded);
            }
        }
        if (one.answer.bytes != 0) {
            take_slice_as_data(one);
        }
    }
    answer(one);
}

void serve_open(const std::shared_ptr<job>& one)
{
    auto go = [](job& ready) { server_of(ready).blocking(ready.shared_from_this(), open_and_read, finish_open); };
    if (one->asked.window.length == 0) {
        go(*one);
    } else {
        server_of(*one).with_slice(one, go);
    }
}

void serve_list(const std::shared_ptr<job>& one)
{
    server_of(*one).with_slice(one, [](job& ready) {
        server_of(ready).blocking(
            ready.shared_from_this(),
            [](job& working) {
                const auto window = working.window_bytes();
                const auto page = working.store->list(working.name, working.after, window.size());
                if (!page) {
                    return working.fail(page.error());
                }
                working.answer.bytes = encode_entries(page->entries, window);
                working.answer.more = page->more;
                checksum_slice(working);
            },
            [](job& done) {
                if (!done.status.failed() && done.answer.bytes != 0) {
                    take_slice_as_data(done);
                }
                answer(done);
            });
    });
}

// ---- writing

// Pulls the window's bytes into the slice, then runs `work` on a file thread.
void pull(job& one, std::function<void(job&)> work)
{
    auto& lane = one.from->link().data();
    const auto segment
        = one.slice.slice(0, static_cast<std::size_t>(one.asked.window.length)).segment(lane.device().index);
    fabric::send_request read;
    read.operation = fabric::opcode::read;
    read.local = {&segment, 1};
    read.remote = {one.asked.window.address, one.asked.window.rkey};
    auto done = [self = one.shared_from_this(), work = std::move(work)](error_code error) mutable {
        if (self->from->home != nullptr && !error.failed()) {
            auto& of = server_of(*self);
            of.blocking(std::move(self), std::move(work), answer_job);
        }
    };
    if (const auto error = transfer::submit(lane, {&read, 1}, done); error.failed()) {
        lane.fail(error);
    }
}

bool intact(job& one)
{
    if (one.asked.checksum && crc32c(one.window_bytes()) != one.asked.crc32c) {
        one.fail(errc::integrity_error);
        return false;
    }
    return true;
}

void store_object(job& one)
{
    const auto bytes = one.slice ? one.window_bytes() : std::span<std::byte>{};
    if (!one.slice || intact(one)) {
        one.status = one.store->put(one.name, one.asked.permissions, one.asked.promise, bytes);
    }
}

void write_object(job& one)
{
    if (intact(one)) {
        one.status = one.object->writing.write_at(one.asked.offset, one.window_bytes());
    }
}

void serve_put(const std::shared_ptr<job>& one)
{
    if (one->asked.window.length == 0) {
        server_of(*one).blocking(one, store_object, answer_job);
    } else {
        server_of(*one).with_slice(one, [](job& ready) { pull(ready, store_object); });
    }
}

bool find_object(job& one)
{
    one.object = one.from->find_handle(one.asked.handle);
    const bool wants_writing = one.asked.op == operation::write || one.asked.op == operation::commit;
    if (!one.object || static_cast<bool>(one.object->writing) != wants_writing) {
        one.object.reset();
        one.fail(errc::wrong_state);
        answer(one);
        return false;
    }
    return true;
}

void serve_write(const std::shared_ptr<job>& one)
{
    if (find_object(*one)) {
        server_of(*one).with_slice(one, [](job& ready) { pull(ready, write_object); });
    }
}

void serve_create(const std::shared_ptr<job>& one)
{
    server_of(*one).blocking(
        one,
        [](job& working) {
            auto staged = working.store->create(working.name, working.asked.offset, working.asked.permissions);
            if (!staged) {
                return working.fail(staged.error());
            }
            working.object = std::make_shared<open_object>();
            working.object->writing = std::move(*staged);
        },
        [](job& done) {
            if (!done.status.failed()) {
                done.answer.handle = done.from->add_handle(std::move(done.object));
                if (done.answer.handle == 0) {
                    done.fail(errc::overloaded);
                }
            }
            answer(done);
        });
}

void serve_commit(const std::shared_ptr<job>& one)
{
    if (!find_object(*one)) {
        return;
    }
    one->from->drop_handle(one->asked.handle);
    if (one->object.use_count() != 1) {
        one->fail(errc::wrong_state); // writes of it are still under way
        answer(*one);
        return;
    }
    server_of(*one).blocking(
        one,
        [](job& working) {
            working.status = working.store->commit(std::move(working.object->writing), working.asked.promise);
        },
        answer_job);
}

void serve_name_only(const std::shared_ptr<job>& one)
{
    server_of(*one).blocking(
        one,
        [](job& working) {
            if (working.asked.op == operation::make_directory) {
                working.status = working.store->make_directory(working.name);
                return;
            }
            const auto found = working.store->stat(working.name);
            if (!found) {
                return working.fail(found.error());
            }
            working.answer.info = found->info;
        },
        answer_job);
}

void serve_close(const std::shared_ptr<job>& one)
{
    if (!one->from->drop_handle(one->asked.handle)) {
        one->fail(errc::wrong_state);
    }
    answer(*one);
}

} // namespace

void serve_read(const std::shared_ptr<job>& one);

void serve(const std::shared_ptr<job>& one)
{
    switch (one->asked.op) {
    case operation::open: return serve_open(one);
    case operation::read: return find_object(*one) ? serve_read(one) : void();
    case operation::list: return serve_list(one);
    case operation::put: return serve_put(one);
    case operation::write: return serve_write(one);
    case operation::create: return serve_create(one);
    case operation::commit: return serve_commit(one);
    case operation::close: return serve_close(one);
    case operation::make_directory:
    case operation::stat: return serve_name_only(one);
    }
}

void answer(job& one)
{
    if (one.from->home == nullptr) {
        return;
    }
    auto& of = server_of(one);
    auto& lane = one.from->link().data();
    one.object.reset(); // a commit may arrive before this answer's send completes
    one.answer.op = one.asked.op;
    one.answer.id = one.asked.id;
    if (one.status.failed()) {
        ++of.counters.requests_failed;
        one.answer = response{};
        one.answer.op = one.asked.op;
        one.answer.id = one.asked.id;
        one.answer.status = wire_status(one.status);
        one.data_segments = 0;
    } else if (writes_to_window(one.asked.op)) {
        of.counters.bytes_read += one.answer.bytes;
    } else {
        of.counters.bytes_written += one.asked.window.length;
    }
    auto message = lane.acquire_message();
    if (!message) {
        lane.fail(message.error());
        return;
    }
    std::array<fabric::send_request, 2> requests;
    std::size_t count = 0;
    if (one.data_segments != 0) {
        auto& write = requests[count++];
        write.operation = fabric::opcode::write;
        write.local = std::span(one.data).first(one.data_segments);
        write.remote = {one.asked.window.address, one.asked.window.rkey};
    }
    const std::size_t length = encode(one.answer, message->bytes);
    assert(length != 0 && "an answer that the protocol does not allow");
    const auto segment = message->segment(length);
    auto& send = requests[count++];
    send.operation = fabric::opcode::send;
    send.local = {&segment, 1};
    auto sent = [self = one.shared_from_this(), on = &lane, kept = *message](error_code) mutable {
        on->release_message(kept);
        const auto from = self->from;
        --from->in_flight;
        self.reset(); // its slice is free again
        if (from->home != nullptr) {
            from->home->slices_returned();
        }
    };
    if (const auto error = transfer::submit(lane, std::span(requests).first(count), sent); error.failed()) {
        lane.release_message(*message);
        lane.fail(error);
    }
}

} // namespace penstock::storage
