#pragma once

// The completion poller: polls completion queues, runs handlers, keeps timers. Nothing else runs handlers.
//
// It is a plain object without a thread. A driver calls poll() again and again, and when there is nothing to do arms
// it and sleeps on its one descriptor; asio_driver.hpp does so inside an Asio executor.

#include <penstock/completion/timer.hpp>
#include <penstock/core/clock.hpp>
#include <penstock/core/error.hpp>
#include <penstock/fabric/queue_pair.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace penstock::completion {

/// Names an operation in work_completion::id: slot, generation, and whether its last request. A completion whose generation
/// is not the slot's any more is ignored: the operation has ended.
using operation_id = std::uint64_t;

/// Set in the id of an operation's last work request; the others complete only when they fail.
inline constexpr operation_id last_request = std::uint64_t{1} << 63U;

/// Something besides completion queues that a poller looks after now and then: connection events.
class source {
public:
    virtual std::size_t turn() = 0; ///< does what there is to do without blocking; returns how much that was
    virtual int descriptor() const noexcept = 0;

protected:
    ~source() = default;
};

struct poller_options {
    std::uint32_t operations_max = 16'384; ///< operations in flight at most
    std::uint32_t source_interval = 64;    ///< sources and timers get every n-th turn: each source costs a system call
    std::uint32_t batch_max = 64;          ///< completions taken from each queue in a turn; at most 4,095
    bool time_handlers = false;            ///< poller_statistics::handler_time, for two readings of the clock per batch
};

struct poller_statistics {
    std::uint64_t turns = 0;
    std::uint64_t completions = 0;
    std::uint64_t stale_completions = 0; ///< of operations that had ended
    std::uint64_t operations = 0;        ///< started
    /// What polls of a queue gave: batches[n] of 2^n to 2^(n+1) - 1 completions. Those that gave nothing are not counted.
    std::array<std::uint64_t, 12> batches{};
    duration handler_time{}; ///< in the handlers of completions; zero unless poller_options::time_handlers
};

/// Ownership: a driver, and whatever has operations here, is destroyed before it; queues and sources after it, or once removed.
/// Never inside its own poll(). Breaking the rule about drivers or poll() ends the program with a message.
/// Threads: one. Allocation: none after construction, apart from add().
class poller {
public:
    static constexpr std::size_t inline_bytes = 240;

    /// Throws system_error: invalid_argument (an option of 0, or too many operations); errno when no descriptor can be made.
    poller(clock& time, const poller_options& options);
    poller(const poller&) = delete;
    poller& operator=(const poller&) = delete;
    /// Destroys the operations still in flight without completing them: their queue pairs must be gone.
    ~poller();

    void add(fabric::completion_queue& queue);
    void remove(fabric::completion_queue& queue) noexcept; ///< nothing may be in flight on it
    void add(source& what);
    void remove(source& what) noexcept;

    /// One turn: a bounded batch from every completion queue, due timers, sources at their interval. Returns the number of
    /// completions, timers and source events handled.
    std::size_t poll();

    /// Prepares for sleeping: afterwards poll once more, then wait until descriptor() is readable, then acknowledge().
    error_code arm();
    void acknowledge();
    int descriptor() const noexcept { return epoll_; }

    /// Starts an operation in a free slot: `Operation` needs
    ///     void failed(const fabric::work_completion&);    a request other than the last one failed
    ///     void complete(const fabric::work_completion&);  the last one ended; called once, on a moved-out object
    ///                                                     whose slot is free again
    /// or, with `static constexpr bool persistent = true`, only complete(), called for every completion until release(),
    /// which it may call itself as its last act. The completion they are given is valid until they call poll() themselves.
    /// An exception of theirs leaves through poll() and takes nothing along but this operation: the next turn goes on.
    /// Errors: errc::send_queue_full when all slots are taken.
    template <class Operation, class... Args>
    result<operation_id> start(Args&&... args);

    /// Ends an operation without completing it. Later completions with its id are ignored.
    void release(operation_id id) noexcept;

    /// The operation behind an id that is known to be live.
    template <class Operation>
    Operation& get(operation_id id) noexcept
    {
        return *object<Operation>(slots_[index_of(id)]);
    }

    /// One-shot operations and holds: a driver runs while this is not zero.
    std::size_t outstanding() const noexcept { return outstanding_; }
    void hold() noexcept
    {
        if (outstanding_++ == 0 && wake_ != nullptr) [[unlikely]] {
            wake();
        }
    }
    void release_hold() noexcept
    {
        if (--outstanding_ == 0 && wake_ != nullptr) [[unlikely]] {
            wake();
        }
    }

    /// For a driver that does not poll: `wake` is called once, at the next change of outstanding() from or to zero.
    void on_work(void (*wake)(void*), void* context) noexcept
    {
        wake_ = wake;
        wake_context_ = context;
    }
    /// A driver has the poller's ear until it detaches.
    void attach_driver() noexcept;
    void detach_driver() noexcept;

    /// descriptor() belongs to somebody else now, who closes it: an executor in a forked child, which must not touch it otherwise.
    void leave_descriptor() noexcept { epoll_ = -1; }

    clock& time() noexcept { return time_; }
    timer_queue& timers() noexcept { return timers_; }
    const poller_statistics& statistics() const noexcept { return statistics_; }

private:
    struct slot;

    /// What is in a slot.
    struct slot_kind {
        void (*deliver)(poller&, slot&, const fabric::work_completion&);
        void (*destroy)(slot&) noexcept;
        bool counted;
    };
    struct slot { // 256 bytes: found by a shift
        const slot_kind* kind = &free_kind;
        std::uint32_t generation = 0;
        std::uint32_t next_free = 0;
        alignas(std::max_align_t) std::byte storage[inline_bytes];
    };

    static constexpr std::uint32_t no_slot = 0xffff'ffff;
    static std::uint32_t index_of(operation_id id) noexcept { return static_cast<std::uint32_t>(id & 0xff'ffffU); }
    static std::uint32_t generation_of(operation_id id) noexcept
    {
        return static_cast<std::uint32_t>((id & ~last_request) >> 24U);
    }

    template <class Operation>
    static Operation* object(slot& s) noexcept
    {
        return std::launder(reinterpret_cast<Operation*>(s.storage));
    }
    template <class Operation>
    static constexpr bool is_persistent = requires
    {
        Operation::persistent;
    };
    template <class Operation>
    static void deliver_to(poller& self, slot& s, const fabric::work_completion& completion);
    template <class Operation>
    static void destroy_in(slot& s) noexcept
    {
        object<Operation>(s)->~Operation();
    }
    template <class Operation>
    static constexpr slot_kind kind_of{&deliver_to<Operation>, &destroy_in<Operation>, !is_persistent<Operation>};
    static void deliver_stale(poller& self, slot& s, const fabric::work_completion& completion);
    static const slot_kind free_kind;

    /// The object in it is destroyed already.
    void recycle(slot& s, std::uint32_t index) noexcept
    {
        s.kind = &free_kind;
        s.generation = (s.generation + 1) & 0x7fff'ffffU;
        s.next_free = free_head_;
        free_head_ = index;
    }
    void wake() noexcept;
    void watch(int descriptor);
    void unwatch(int descriptor) noexcept;
    void deliver_batch();
    std::size_t deliver_rest();
    void deliver_timed();
    void set_alarm(time_point next) noexcept;
    std::size_t poll_sources();

    clock& time_;
    poller_options options_;
    timer_queue timers_;
    std::vector<fabric::completion_queue*> queues_;
    std::vector<source*> sources_;
    // A member, so that a handler that throws, or polls, strands nobody: the rest is delivered by the next turn.
    std::unique_ptr<fabric::work_completion[]> batch_;
    fabric::work_completion* batch_next_ = nullptr;
    fabric::work_completion* batch_end_ = nullptr;
    std::unique_ptr<slot[]> slots_;
    std::uint32_t free_head_ = no_slot;
    std::uint32_t turns_until_sources_ = 1;
    std::size_t outstanding_ = 0;
    void (*wake_)(void*) = nullptr;
    void* wake_context_ = nullptr;
    std::uint32_t polling_ = 0; // poll() calls on the stack
    bool driven_ = false;
    int epoll_ = -1;
    int timer_descriptor_ = -1;
    poller_statistics statistics_;
};

template <class Operation, class... Args>
result<operation_id> poller::start(Args&&... args)
{
    static_assert(sizeof(Operation) <= inline_bytes, "keep the handler behind an any_completion_handler");
    static_assert(alignof(Operation) <= alignof(std::max_align_t));
    if (free_head_ == no_slot) {
        return make_error_code(errc::send_queue_full);
    }
    const std::uint32_t index = free_head_;
    slot& s = slots_[index];
    ::new (static_cast<void*>(s.storage)) Operation{std::forward<Args>(args)...};
    free_head_ = s.next_free;
    s.kind = &kind_of<Operation>;
    ++statistics_.operations;
    if constexpr (!is_persistent<Operation>) {
        hold();
    }
    return (std::uint64_t{s.generation} << 24U) | index;
}

template <class Operation>
void poller::deliver_to(poller& self, slot& s, const fabric::work_completion& completion)
{
    Operation& operation = *object<Operation>(s);
    if constexpr (is_persistent<Operation>) {
        operation.complete(completion);
    } else {
        if ((completion.id & last_request) == 0) {
            operation.failed(completion);
            return;
        }
        Operation ended(std::move(operation));
        s.kind = &free_kind; // not live any more while its destructor runs
        destroy_in<Operation>(s);
        self.recycle(s, index_of(completion.id));
        self.release_hold();
        ended.complete(completion);
    }
}

} // namespace penstock::completion
