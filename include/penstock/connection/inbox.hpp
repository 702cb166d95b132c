#pragma once

// Where the messages of a connection's lanes wait for those who receive them, and the other way round.

#include <penstock/completion/timer.hpp>
#include <penstock/connection/received_message.hpp>
#include <penstock/core/error.hpp>

#include <boost/intrusive/list.hpp>

#include <cstddef>
#include <memory>

namespace penstock {
class runtime;
} // namespace penstock

namespace penstock::connection {

/// Somebody who waits for a message. It is told once, and is off the inbox's list by then.
class receive_waiter : public boost::intrusive::list_base_hook<> {
public:
    virtual void arrived(received_message message) = 0; ///< from the poller's turn
    virtual void ended(error_code why) = 0;             ///< possibly inside a call of its owner's

protected:
    ~receive_waiter() = default;
};

/// Both sides are served in order. Messages wait without bound of their own: each holds a receive of its lane.
/// Threads: the runtime's executor. Allocation: none.
class inbox {
public:
    static constexpr std::size_t waiting_max = 256;

    explicit inbox(runtime& rt);
    inbox(const inbox&) = delete;
    inbox& operator=(const inbox&) = delete;
    ~inbox();

    /// Never calls the waiter. Errors: receive_queue_full; what end() was given, once no message waits.
    error_code wait(receive_waiter& who);

    void leave(receive_waiter& who) noexcept { waiting_.erase(waiting_.iterator_to(who)); }

    /// A lane has a message. It is kept until it is received, also when the lane dies meanwhile.
    void arrived(receive_slot& slot);
    /// A lane takes the place of one that died: what nobody has received of dead ones is dropped, so that it cannot pile up.
    void drop_orphans() noexcept;
    /// No lane will have a message any more.
    void end(error_code why);

private:
    void match();
    received_message take() noexcept;
    bool pair() const noexcept { return !arrived_.empty() && !waiting_.empty(); }

    runtime& runtime_;
    boost::intrusive::list<receive_slot> arrived_;
    boost::intrusive::list<receive_waiter> waiting_;
    completion::timer match_; // for a receive that found a message: its handler does not run inside its call
    error_code over_;
    bool matching_ = false;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace penstock::connection
