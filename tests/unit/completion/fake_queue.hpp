#pragma once

// A completion queue that tells what the test puts into it, and a clock that stands still.

#include <penstock/completion/poller.hpp>

#include <deque>

#include <sys/eventfd.h>
#include <unistd.h>

namespace penstock::test {

class manual_clock final : public clock {
public:
    time_point now() noexcept override { return now_; }
    void advance(duration by) noexcept { now_ += by; }

private:
    time_point now_{std::chrono::seconds(1)};
};

class fake_queue final : public fabric::completion_queue {
public:
    fake_queue() = default;
    ~fake_queue() override { ::close(descriptor_); }

    void put(std::uint64_t id, completion_status status = completion_status::success)
    {
        fabric::work_completion made;
        made.id = id;
        made.status = status;
        waiting_.push_back(made);
        if (armed_) {
            armed_ = false;
            (void)::eventfd_write(descriptor_, 1);
        }
    }

    std::size_t poll(std::span<fabric::work_completion> out) override
    {
        std::size_t count = 0;
        while (count != out.size() && !waiting_.empty()) {
            out[count++] = waiting_.front();
            waiting_.pop_front();
        }
        return count;
    }
    error_code arm(bool) override
    {
        armed_ = true;
        return {};
    }
    void acknowledge() override
    {
        eventfd_t value = 0;
        (void)::eventfd_read(descriptor_, &value);
    }
    int descriptor() const noexcept override { return descriptor_; }
    std::size_t depth() const noexcept override { return 1'024; }

private:
    std::deque<fabric::work_completion> waiting_;
    bool armed_ = false;
    int descriptor_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
};

/// Counts what it is told; `then` runs inside complete().
struct recorded {
    int failures = 0;
    int completions = 0;
    int destroyed = 0;
    completion_status first_failure = completion_status::success;
};

struct recording {
    recorded* into;
    void (*then)() = nullptr;

    void failed(const fabric::work_completion& completion)
    {
        if (into->failures++ == 0) {
            into->first_failure = completion.status;
        }
    }
    void complete(const fabric::work_completion&)
    {
        ++into->completions;
        if (then != nullptr) {
            then();
        }
    }
};

} // namespace penstock::test
