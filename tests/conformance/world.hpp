#pragma once

// What a case runs in: one provider, a device and a protection domain for each side, and one loop that polls both
// sides in turns. Everything is single-threaded unless a case says otherwise.

#include "conformance/expect.hpp"

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace penstock::conformance {

using namespace fabric; // NOLINT(google-build-using-namespace): the suite is about nothing else
using namespace std::chrono_literals;
using std::chrono::milliseconds;

/// Which fabric the suite runs on, and by which addresses its devices are reached.
struct target {
    transport kind = transport::tcp;
    std::string address;    ///< numeric IPv4
    std::string address_v6; ///< empty: found among the device's addresses
};

/// How long anything may take that must happen.
inline constexpr milliseconds patience = 10s;

class world;

/// Something the world's loop polls for as long as it lives.
class pollable {
public:
    pollable(const pollable&) = delete;
    pollable& operator=(const pollable&) = delete;
    virtual void poll() = 0;

    /// The loop leaves it alone, because another thread polls it or because nobody may.
    bool paused = false;

protected:
    explicit pollable(world& home);
    virtual ~pollable();

    world& home_;
};

/// A completion queue and the completions it told that no case has taken yet.
class queue final : public pollable {
public:
    queue(world& home, device& hardware, std::uint32_t depth);
    void poll() override;

    /// Waits for the next completion and takes it.
    work_completion next(std::string_view what, const where& place = where::current());
    /// Waits for the next completion, which must be a success with this id and opcode.
    work_completion expect_success(
        std::uint64_t id, completion_opcode operation, const where& place = where::current());
    /// Waits for the next completion, which must have failed so.
    work_completion expect_failure(std::uint64_t id, completion_status status, const where& place = where::current());

    std::unique_ptr<completion_queue> handle;
    std::deque<work_completion> told;
};

/// A connection channel and its events that no case has taken yet.
class channel final : public pollable {
public:
    explicit channel(world& home);
    ~channel() override;
    void poll() override;

    /// Starts a connection; an event left over from one that had the same address is forgotten.
    std::unique_ptr<connection> resolve(const endpoint& remote, const where& place = where::current());

    /// Waits for the next event about `source` (null: a connect request), which must be of this type.
    connection_event expect_event(
        connection_event_type type, const connection* source, const where& place = where::current());
    /// Waits for the next event about `source`, whatever it is.
    connection_event next(std::string_view what, const connection* source, const where& place = where::current());

    std::unique_ptr<connection_channel> handle;
    std::deque<connection_event> told;

private:
    void forget(const connection* gone);
};

/// One side's device and domain.
struct node {
    node(provider& from, const std::string& address);

    std::unique_ptr<device> hardware;
    std::unique_ptr<protection_domain> domain;
};

class world {
public:
    explicit world(const target& on);

    /// Polls everything once.
    void turn();

    /// Polls until `done()`; a case that waits in vain fails with `what`.
    template <class Predicate>
    void run_until(
        std::string_view what, Predicate done, milliseconds limit = patience, const where& place = where::current())
    {
        const auto deadline = std::chrono::steady_clock::now() + limit;
        while (!done()) {
            if (std::chrono::steady_clock::now() > deadline)
                fail("waited " + std::to_string(limit.count()) + " ms in vain for: " + std::string(what), place);
            turn();
        }
    }

    /// Polls for this long, to give what must not happen its chance.
    void run_for(milliseconds span);

    bool supports(capability c) const { return far.hardware->supports().has(c); }

    /// An endpoint of the target's address, and of its IPv6 address.
    endpoint at(std::uint16_t port) const;
    endpoint at_v6(std::uint16_t port) const;

    const target on;
    std::unique_ptr<provider> source;
    node near; ///< the active side's
    node far;  ///< the passive side's

private:
    friend class pollable;
    std::vector<pollable*> polled_;

public:
    channel active;
    channel passive;
};

} // namespace penstock::conformance
