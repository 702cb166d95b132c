#pragma once

// Where completions wait, and what makes progress: polling it gives each of its queue pairs its turns.

#include "fabric/tcp/descriptor.hpp"
#include "fabric/tcp/link.hpp"
#include "fabric/tcp/queue_pair.hpp"

#include <penstock/fabric/queue_pair.hpp>

#include <array>
#include <memory>
#include <sys/uio.h>
#include <vector>

namespace penstock::fabric::tcp {

class device;

/// Shared by the queue pairs of a completion queue, so that an idle one holds no buffer.
struct input_scratch {
    static constexpr std::size_t staging_bytes = 128U << 10U;
    std::vector<std::byte> staging = std::vector<std::byte>(staging_bytes);
};

struct output_scratch {
    static constexpr std::size_t frames_max = 48;
    static constexpr std::size_t pieces_max = held_keys::capacity;

    struct planned {
        outgoing_frame frame{};
        send_position request_after{};
        response_position response_after{};
        std::size_t bytes = 0;
    };
    std::array<iovec, pieces_max> pieces;
    std::array<header_buffer, frames_max> headers;
    std::array<planned, frames_max> frames;
    std::size_t bytes = 0;
    std::uint64_t written = 0; // ever
    bool failed = false;       // a key was bad: `failure` is the frame that could not be gathered
    outgoing_frame failure{};
    bool failure_begun = false;
};

struct completion_entry {
    work_completion completion{};
    queue_pair* owner = nullptr; // null: destroyed since
    std::uint32_t send_slots = 0;
    std::uint32_t receive_slot = receive_pool::none;
    bool wakes_solicited = false; // solicited, or a failure
};

class completion_queue final : public fabric::completion_queue {
public:
    static result<std::unique_ptr<fabric::completion_queue>> create(device& owner, std::uint32_t depth);
    completion_queue(device& owner, std::uint32_t depth, unique_descriptor epoll, unique_descriptor timer,
        std::shared_ptr<queue_signal> signal);
    ~completion_queue() override = default;

    std::size_t poll(std::span<work_completion> out) override;
    error_code arm(bool solicited_only) override;
    void acknowledge() override;
    int descriptor() const noexcept override { return epoll_.get(); }
    std::size_t depth() const noexcept override { return depth_; }

    // For queue pairs.

    const std::shared_ptr<queue_signal>& signal() const noexcept { return signal_; }
    /// False when the depths of its queue pairs would exceed its own.
    bool reserve(std::uint32_t entries) noexcept;
    void unreserve(std::uint32_t entries) noexcept { reserved_ -= entries; }
    void add(queue_pair& pair);
    void remove(queue_pair& pair) noexcept;
    /// The pair's socket has come.
    void adopt(queue_pair& pair) noexcept;
    /// Nothing more comes from the pair's socket.
    void input_ended(queue_pair& pair) noexcept;
    void mark(queue_pair& pair) noexcept;
    /// The pair waits for its socket to take more, or for a time.
    void attend(queue_pair& pair) noexcept;
    void push(const completion_entry& entry) noexcept;
    input_scratch& input() noexcept { return input_; }
    output_scratch& output() noexcept { return output_; }

private:
    enum class armed : std::uint8_t { no, solicited, any };

    /// Up to this many queue pairs are read one by one; more are asked for by epoll.
    static constexpr std::size_t few = 4;

    void progress();
    void look_at_links();
    void give_output_turns();
    void settle() noexcept;
    void disturb() noexcept;
    void read_ready();
    std::size_t side_of(const queue_pair& pair) const noexcept;
    void watch_pair(queue_pair& pair) noexcept;
    bool prepare_to_sleep(queue_pair& pair, time_point& wakes_at) noexcept;
    std::size_t drain(std::span<work_completion> out) noexcept;
    void wake() noexcept;

    device& owner_;
    std::uint32_t depth_;
    std::uint32_t reserved_ = 0;
    unique_descriptor epoll_;
    unique_descriptor timer_;
    std::shared_ptr<queue_signal> signal_;
    std::uint32_t rings_seen_ = 0;
    armed armed_ = armed::no;
    bool polling_ = false; // what comes now is handed out by the same poll
    bool sleeps_ = false;  // perhaps: armed, and nothing was handed out since
    bool turning_ = false; // its own turns leave nothing behind that settle() does not look at
    bool overrun_ = false; // completions were lost: dead
    bool overrun_unhandled_ = false;
    bool timer_set_ = false;
    bool look_at_all_ = false; // who sleeps, or slept, must not miss what a quiet socket has

    std::vector<completion_entry> ring_;
    std::uint64_t first_ = 0;
    std::uint64_t next_ = 0;

    std::vector<queue_pair*> pairs_;
    std::vector<queue_pair*> work_;     // capacity for all pairs
    std::vector<queue_pair*> attended_; // likewise; the only ones that arming has to look at
    input_scratch input_;
    output_scratch output_;
};

} // namespace penstock::fabric::tcp
