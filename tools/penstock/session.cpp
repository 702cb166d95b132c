#include "session.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/redirect_error.hpp>
#include <fmt/format.h>

#include <csignal>
#include <cstdio>

#include <sys/timerfd.h>
#include <unistd.h>

namespace penstock::command {
namespace {

// What the client itself may take from the pool for its messages, beside our slices.
constexpr std::size_t bytes_beside_slices = std::size_t{32} << 20U;

std::unique_ptr<runtime> open_runtime(
    const asio::any_io_executor& executor, const session_options& options, const storage::uri& server)
{
    runtime_options wanted;
    wanted.transport = options.transport;
    wanted.log = options.log;
    wanted.pool.slice_bytes = options.slice_bytes;
    wanted.pool.arena_bytes = std::max(wanted.pool.arena_bytes, options.slice_bytes);
    wanted.pool.bytes_max
        = options.slice_bytes * options.slices + std::max(bytes_beside_slices, 2 * wanted.pool.arena_bytes);
    try {
        return std::make_unique<runtime>(executor, wanted);
    } catch (const system_error& thrown) {
        if (options.transport == transport_choice::verbs) {
            throw failure(exit_status::no_rdma,
                fmt::format("RDMA is required but not available here: {}; use --transport tcp or auto for {}",
                    thrown.code().message(), server_name(server)));
        }
        throw failure(exit_status::failed, fmt::format("cannot start: {}", explain(thrown.code())));
    }
}

} // namespace

session::session(storage::uri server, const session_options& options)
    : server_(std::move(server))
    , options_(options)
    , log_(options.log.for_component("command"))
    , slice_bytes_(options.slice_bytes)
    , runtime_(open_runtime(io_.get_executor(), options, server_))
    , slices_(io_.get_executor(), options.slices)
    , signals_(io_, SIGINT, SIGTERM)
    , timer_(io_)
{
    const int timer = ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (timer < 0) {
        throw failure(exit_status::failed, fmt::format("cannot start a timer: {}", explain(make_system_error(errno))));
    }
    timer_.assign(timer);
    constexpr long interval_ns = 200'000'000;
    const itimerspec each{{0, interval_ns}, {0, interval_ns}};
    ::timerfd_settime(timer, 0, &each, nullptr);
}

session::~session()
{
    files_.join();
}

void session::run(std::function<awaitable<void>(session&)> body)
{
    std::exception_ptr thrown;
    wait_for_signal();
    wait_for_tick();
    asio::co_spawn(io_, connect_and_run(std::move(body)), [&](std::exception_ptr failed) {
        thrown = failed;
        client_.reset();
        io_.stop();
    });
    io_.run();
    if (thrown) {
        std::rethrow_exception(thrown);
    }
}

awaitable<void> session::connect_and_run(std::function<awaitable<void>(session&)> body)
{
    storage::client_options wanted;
    wanted.transport = options_.transport;
    wanted.checksum = options_.checksum;
    wanted.depth = options_.depth;
    auto [ec, opened]
        = co_await storage::client::async_open(*runtime_, server_, wanted, asio::as_tuple(asio::use_awaitable));
    if (ec) {
        throw open_failure(server_, ec, runtime_->verbs_reason());
    }
    client_.emplace(std::move(opened));
    properties_ = client_->current();
    connected_ = true;
    log_.info(fmt::format("{}: {} ({}), {} requests at once, checksum {}", server_name(server_),
        fabric::to_string(properties_.transport), properties_.transport_reason, properties_.depth,
        properties_.checksum == storage::checksum_mode::off ? "off" : "crc32c"));
    co_await body(*this);
}

awaitable<result<session::slice>> session::acquire_slice()
{
    slice made;
    made.permit = co_await slices_.enter();
    auto buffer = runtime_->pool().acquire();
    if (!buffer) {
        co_return buffer.error();
    }
    made.buffer = std::move(*buffer);
    co_return made;
}

void session::lose(const error_code& ec)
{
    if (!stopped_) {
        stopped_ = ec;
        // Not here: this may be called by a handler of the client itself.
        asio::post(io_, [this] { client_.reset(); });
    }
}

void session::wait_for_signal()
{
    signals_.async_wait([this](const error_code& ec, int number) {
        if (ec) {
            return;
        }
        if (!connected_ || signal_ != 0) {
            // Nothing is begun yet, or the user does not want to wait: files in the making have no name.
            ::_exit(128 + number);
        }
        signal_ = number;
        lose(errc::cancelled);
        wait_for_signal();
    });
}

void session::wait_for_tick()
{
    timer_.async_wait(asio::posix::stream_descriptor::wait_read, [this](const error_code& ec) {
        if (ec) {
            return;
        }
        std::uint64_t expirations = 0;
        const auto bytes = ::read(timer_.native_handle(), &expirations, sizeof expirations);
        if (bytes > 0) {
            check_stall();
        }
        if (bytes > 0 && on_tick_) {
            on_tick_();
        }
        wait_for_tick();
    });
}

void session::check_stall()
{
    if (expected_ != 0 && !stopped_ && time().now() - answered_at_ >= options_.stall_limit) {
        lose(errc::timed_out);
    }
}

exit_status status_of_stop(const session& from)
{
    if (from.signal() == SIGTERM) {
        return exit_status::terminated;
    }
    return from.signal() != 0 ? exit_status::interrupted : exit_status::connection_lost;
}

} // namespace penstock::command
