#include <penstock/storage/server.hpp>

#include "storage/client_requests.hpp"
#include "storage/server_session.hpp"

#include <penstock/connection/acceptor.hpp>
#include <penstock/core/fork.hpp>

#include <boost/asio/post.hpp>

#include <vector>

namespace penstock::storage {

server::implementation::implementation(runtime& rt, const server_options& wanted)
    : owner(rt)
    , options(wanted)
    , store(file_store::open(wanted.root, rt.random()).value())
    , cache(wanted.cache_bytes, rt.pool().slice_bytes())
    , alive_(std::make_shared<implementation*>(this))
    , files_(std::make_unique<boost::asio::thread_pool>(std::max<std::uint32_t>(wanted.file_threads, 1)))
{
    connection::acceptor_options listen;
    listen.listen = options.listen;
    listen.transport = options.transport;
    listen.depth = options.depth;
    listen.messages = message_limits;
    listen.transfer_bytes_max = rt.pool().slice_bytes();
    listen.half_open_max = options.half_open_max;
    listen.connections_max = options.connections_max;
    acceptor = std::make_unique<connection::acceptor>(
        rt, listen, [this](std::unique_ptr<connection::connection> made) { accept(std::move(made)); });
    transports = acceptor->transports();
}

server::implementation::~implementation()
{
    stop();
    *alive_ = nullptr;
    if (core::forked()) {
        static auto& kept = *new std::vector<std::unique_ptr<boost::asio::thread_pool>>;
        kept.push_back(std::move(files_)); // its threads are the parent's and cannot be joined here
        return;
    }
    files_->join();
}

void server::implementation::accept(std::unique_ptr<connection::connection> made)
{
    auto one = std::make_shared<session>(*this, std::move(made));
    sessions.insert(one);
    one->start();
}

void server::implementation::stop()
{
    if (acceptor) {
        const auto last = acceptor->statistics();
        counters.connections_accepted = last.accepted;
        counters.handshakes_refused = last.refused;
        acceptor.reset();
    }
    waiting_.clear();
    while (!sessions.empty()) {
        const auto one = *sessions.begin();
        one->close();
    }
}

void server::implementation::blocking(
    std::shared_ptr<job> one, std::function<void(job&)> work, std::function<void(job&)> then)
{
    boost::asio::post(*files_, [this, one = std::move(one), work = std::move(work), then = std::move(then)]() mutable {
        work(*one);
        {
            const std::lock_guard lock(finished_mutex_);
            finished_.push_back({std::move(one), std::move(then)});
            if (finished_.size() > 1) {
                return; // a handler is on its way already
            }
        }
        boost::asio::post(owner.executor(), [alive = alive_] {
            if (*alive != nullptr) {
                (*alive)->run_finished();
            }
        });
    });
}

void server::implementation::run_finished()
{
    std::vector<finished> ended;
    {
        const std::lock_guard lock(finished_mutex_);
        ended.swap(finished_);
    }
    for (auto& each : ended) {
        if (each.one->from->home != nullptr) {
            each.then(*each.one);
        }
    }
}

bool server::implementation::take_slice(job& one)
{
    auto slice = owner.pool().acquire();
    while (!slice && slice.error() == errc::pool_exhausted && cache.evict()) {
        slice = owner.pool().acquire();
    }
    if (slice) {
        one.slice = std::move(*slice);
    } else if (slice.error() != errc::pool_exhausted) {
        one.fail(slice.error());
        return true;
    }
    return slice.has_value();
}

void server::implementation::with_slice(const std::shared_ptr<job>& one, std::function<void(job&)> next)
{
    if (!waiting_.empty() || !take_slice(*one)) {
        waiting_.push_back({one, std::move(next)});
    } else if (one->status.failed()) {
        answer(*one);
    } else {
        next(*one);
    }
}

void server::implementation::slices_returned()
{
    while (!waiting_.empty()) {
        const auto first = waiting_.front();
        const bool open = first.one->from->home != nullptr;
        if (open && !take_slice(*first.one)) {
            return;
        }
        waiting_.pop_front();
        if (open && first.one->status.failed()) {
            answer(*first.one);
        } else if (open) {
            first.next(*first.one);
        }
    }
}

session::session(server::implementation& of, std::unique_ptr<connection::connection> over)
    : home(&of)
    , connection_(std::move(over))
{}

void session::start()
{
    connection_->on_message([this](std::span<const std::byte> message) { on_message(message); });
    connection_->on_down([this](error_code) { close(); });
}

void session::close()
{
    if (home == nullptr) {
        return;
    }
    const auto self = shared_from_this();
    auto* const of = std::exchange(home, nullptr);
    of->sessions.erase(self);
    handles_.clear();
    // The lane's handlers name this session: it stays until the lane is gone.
    connection_->close([self] {});
}

void session::protocol_error(error_code why)
{
    ++home->counters.protocol_errors;
    home->owner.log().warning("connection closed: " + why.message());
    connection_->data().fail(why);
}

void session::on_message(std::span<const std::byte> message)
{
    if (home == nullptr) {
        return;
    }
    const auto decoded = decode_request(message);
    if (!decoded) {
        protocol_error(decoded.error());
        return;
    }
    if (decoded->window.length > home->owner.pool().slice_bytes()) {
        protocol_error(errc::message_too_large);
        return;
    }
    // The client may send its next request before the end of our answer's send is polled, hence twice the depth.
    if (in_flight >= 2 * connection_->properties().depth) {
        protocol_error(errc::unexpected_message);
        return;
    }
    ++in_flight;
    ++home->counters.requests;
    auto one = std::make_shared<job>();
    one->from = shared_from_this();
    one->store = home->store.get();
    one->asked = *decoded;
    one->name = decoded->name;
    one->after = decoded->after;
    one->asked.name = one->name;
    one->asked.after = one->after;
    serve(one);
}

std::uint32_t session::add_handle(std::shared_ptr<open_object> object)
{
    if (handles_.size() >= home->options.handles_per_connection) {
        return 0;
    }
    while (next_handle_ == 0 || handles_.contains(next_handle_)) {
        ++next_handle_;
    }
    handles_[next_handle_] = std::move(object);
    return next_handle_++;
}

std::shared_ptr<open_object> session::find_handle(std::uint32_t id) const
{
    const auto found = handles_.find(id);
    return found == handles_.end() ? nullptr : found->second;
}

server::server(runtime& rt, const server_options& options)
{
    if (core::forked()) {
        throw system_error(make_error_code(errc::forked), "server");
    }
    body_ = std::make_unique<implementation>(rt, options);
}

server::~server() = default;

fabric::endpoint server::local_endpoint() const noexcept
{
    return body_->acceptor ? body_->acceptor->local_endpoint() : fabric::endpoint{};
}

const std::string& server::transports() const noexcept
{
    return body_->transports;
}

server_statistics server::statistics() const noexcept
{
    auto counted = body_->counters;
    counted.connections_open = body_->sessions.size();
    if (body_->acceptor) {
        const auto now = body_->acceptor->statistics();
        counted.connections_accepted = now.accepted;
        counted.handshakes_refused = now.refused;
    }
    return counted;
}

void server::stop()
{
    body_->stop();
}

} // namespace penstock::storage
