#pragma once

// A client that exposes memory and a server that reaches it, with windows and without.

#include "exposed.hpp"
#include "unit/connection/world.hpp"

#include <penstock/transfer/exposure.hpp>
#include <penstock/transfer/exposure_ledger.hpp>
#include <penstock/transfer/transfer.hpp>

#include <algorithm>
#include <optional>

namespace penstock::test {

using transfer::exposure;
using transfer::exposure_ledger;
using transfer::remote_buffer;

struct ending {
    bool ended = false;
    error_code error{};
    auto handler()
    {
        return [this](error_code told) {
            CHECK_FALSE(ended);
            ended = true;
            error = told;
        };
    }
};

struct exposing : world {
    connection_ptr here;
    connection::connection* there = nullptr;
    memory::buffer source;
    bool held = true;
    static constexpr auto both = fabric::access::remote_read | fabric::access::remote_write;

    explicit exposing(bool windows = true)
    {
        auto options = test_runtime();
        if (on_verbs()) {
            listening.reset();
            server.emplace(context.get_executor(), options);
            acceptor_options where;
            where.listen = {test_address(), 0};
            listening.emplace(*server, where, [this](connection_ptr made) { accepted.push_back(std::move(made)); });
        }
        options.memory_windows = windows;
        client.emplace(context.get_executor(), options);
        here = connect();
        there = accepted.front().get();
        exposure_ledger::of(*there); // so that it answers
        client->poller().hold();     // the tcp fabric's passive side moves only while its poller runs
        source = server->pool().acquire().value();
        std::fill(source.bytes().begin(), source.bytes().end(), std::byte{2});
    }

    exposing(const exposing&) = delete;
    exposing& operator=(const exposing&) = delete;
    ~exposing() { let_go(); }

    void let_go()
    {
        if (std::exchange(held, false)) {
            client->poller().release_hold();
        }
    }

    exposure expose(memory::buffer buffer, const transfer::expose_options& options = {})
    {
        return run(options, std::move(buffer));
    }
    exposure expose(memory::local_buffer slice, const transfer::expose_options& options = {})
    {
        return run(options, slice);
    }

    template <class Memory>
    exposure run(const transfer::expose_options& options, Memory&& what)
    {
        std::optional<exposure> made;
        transfer::async_expose(
            *here, std::forward<Memory>(what), both, options, [&](error_code error, exposure exposed) {
                CHECK_FALSE(error.failed());
                made.emplace(std::move(exposed));
            });
        CHECK_FALSE(made); // never inside the initiating function
        run_until([&] { return made.has_value(); });
        CHECK_FALSE(made->remote().empty());
        return std::move(*made);
    }

    /// The server writes, as a peer that counts its use or as one that does not.
    error_code write(const remote_buffer& to, std::size_t bytes)
    {
        ending write;
        transfer::async_write(there->data(), source.slice(0, bytes).segment(there->data().device().index),
            {to.address(), to.key_for(0).value()}, write.handler());
        run_until([&] { return write.ended; });
        return write.error;
    }

    error_code revoke(exposure& exposed, const transfer::revoke_options& options = {})
    {
        ending revoked;
        exposed.async_revoke(options, revoked.handler());
        CHECK_FALSE(revoked.ended);
        run_until([&] { return revoked.ended; });
        return revoked.error;
    }

    std::size_t in_use() { return client->pool().statistics().in_use; }

    /// Whether the server has been told that `what` is revoked.
    bool refused(const remote_buffer& what)
    {
        auto& ledger = exposure_ledger::of(*there);
        const auto error = ledger.begin_use(what);
        if (!error.failed()) {
            ledger.end_use(what);
        }
        return error == errc::exposure_revoked;
    }
};

/// So long that a test would fail before it passes.
inline transfer::revoke_options patient()
{
    transfer::revoke_options options;
    options.revoke_grace = options.invalidate_limit = options.fence_limit = std::chrono::hours(1);
    return options;
}

} // namespace penstock::test
