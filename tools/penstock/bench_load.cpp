#include "bench_load.hpp"

#include <algorithm>

namespace penstock::command {

bench_load::bench_load(session& on, std::vector<bench_object> objects, const bench_options& options)
    : session_(&on)
    , objects_(std::move(objects))
    , options_(options)
    , random_(system_random_source().next())
    , slots_(options.depth)
{
    std::uint64_t sum = 0;
    for (const auto& object : objects_) {
        sum += object.size / options_.size;
        extents_before_.push_back(sum);
    }
}

awaitable<bench_outcome> bench_load::run()
{
    for (auto& slot : slots_) {
        auto memory = co_await session_->acquire_slice();
        if (!memory) {
            throw failure(exit_status::failed, "cannot register memory: " + explain(memory.error()));
        }
        slot.memory = std::move(*memory);
        random_.fill(slot.memory.buffer.bytes());
    }
    const auto began = session_->time().now();
    deadline_ = saturating_add(began, options_.length);
    running_ = slots_.size();
    const session::expectation answers(*session_);
    co_await asio::async_initiate<const asio::use_awaitable_t<>&, void()>(
        [this](auto handler) {
            waiting_.emplace(std::move(handler));
            const auto now = session_->time().now();
            for (auto& slot : slots_) {
                slot.started = now;
                start(slot);
            }
        },
        asio::use_awaitable);
    outcome_.elapsed = session_->time().now() - began;
    co_return std::move(outcome_);
}

bool bench_load::is_over(time_point now) const noexcept
{
    return now >= deadline_ || session_->stopped() || outcome_.errors >= errors_max;
}

void bench_load::start(slot& with)
{
    if (is_over(with.started)) {
        if (--running_ == 0) {
            auto last = std::move(*waiting_);
            waiting_.reset();
            asio::post(session_->executor(), [handler = std::move(last)]() mutable { std::move(handler)(); });
        }
        return;
    }
    // A server keeps book of the parts of an object that were written, and bounds their number: writes go round in order.
    const auto extent
        = options_.write ? written_++ % extents_before_.back() : uniform_below(random_, extents_before_.back());
    const auto found = std::upper_bound(extents_before_.begin(), extents_before_.end(), extent);
    const auto& object = objects_[static_cast<std::size_t>(found - extents_before_.begin())];
    const auto within = extent - (*found - object.size / options_.size);
    const auto offset = within * options_.size;
    const auto slice = with.memory.buffer.slice(0, options_.size);
    if (options_.write) {
        session_->client().async_write(
            object.handle, offset, slice, [this, &with](const error_code& ec) { finished(with, ec, options_.size); });
    } else {
        session_->client().async_read(object.handle, offset, slice,
            [this, &with](const error_code& ec, std::size_t bytes) { finished(with, ec, bytes); });
    }
}

void bench_load::finished(slot& with, const error_code& ec, std::size_t bytes)
{
    const auto now = session_->time().now();
    session_->note_answer(now);
    if (!ec && bytes == options_.size) {
        ++outcome_.operations;
        outcome_.latency_ns.add(static_cast<std::uint64_t>((now - with.started).count()));
    } else if (!session_->stopped()) {
        ++outcome_.errors;
        if (!outcome_.first_error) {
            outcome_.first_error = ec ? ec : make_error_code(errc::changed_underneath);
        }
        if (ec && is_fatal(ec)) {
            session_->lose(ec);
        }
    }
    with.started = now;
    start(with);
}

} // namespace penstock::command
