#include "storage/client_requests.hpp"

#include <penstock/completion/handler.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace penstock::storage {

namespace asio = boost::asio;

/// What a client is; requests in flight share it, so that they can end after the client itself is gone.
struct client::implementation {
    std::shared_ptr<client_requests> requests;
    properties current;
};

namespace {

constexpr auto as_pair = asio::as_tuple(asio::use_awaitable);

struct opening_result {
    error_code error;
    std::unique_ptr<connection::connection> made;
};

// Tries the host's addresses in order; the last error counts.
asio::awaitable<opening_result> connect_any(
    std::weak_ptr<void> wanted_by, runtime& rt, uri where, client_options options)
{
    asio::ip::tcp::resolver resolver(rt.executor());
    const auto [unknown, found] = co_await resolver.async_resolve(where.host, std::to_string(where.port), as_pair);
    if (unknown.failed() || wanted_by.expired()) { // expired: the runtime has ended meanwhile
        co_return opening_result{unknown.failed() ? unknown : make_error_code(errc::cancelled), nullptr};
    }
    connection::connect_options wanted;
    wanted.transport = options.transport;
    wanted.depth = options.depth;
    wanted.messages = message_limits;
    wanted.timeout = options.connect_timeout;
    opening_result last{make_error_code(errc::unreachable), nullptr};
    for (const auto& entry : found) {
        auto [error, made] = co_await connection::async_connect(rt, entry.endpoint(), wanted, as_pair);
        last.error = error;
        if (!error.failed()) {
            last.made = std::move(made);
            break;
        }
    }
    co_return last;
}

client::properties describe(const connection::connection_properties& agreed, checksum_mode checksum)
{
    client::properties known;
    known.transport = agreed.transport;
    known.transport_reason = agreed.transport_reason;
    known.device = agreed.device;
    known.remote = agreed.remote;
    known.depth = agreed.depth;
    known.transfer_bytes_max = static_cast<std::size_t>(agreed.transfer_bytes_max);
    known.checksum = checksum;
    return known;
}

template <class Handler, class Value>
auto answer_with(const std::shared_ptr<client_requests>& requests, Handler handler, Value value_of)
{
    return [home = requests->executor(), value_of, handler = std::move(handler)](
               error_code error, const response& answer) mutable {
        completion::call_handler(std::move(handler), home, error, value_of(answer));
    };
}

template <class Handler>
auto answer_plainly(const std::shared_ptr<client_requests>& requests, Handler handler)
{
    return [home = requests->executor(), handler = std::move(handler)](error_code error, const response&) mutable {
        completion::call_handler(std::move(handler), home, error);
    };
}

} // namespace

client::client(std::unique_ptr<implementation> body) noexcept
    : body_(std::move(body))
{}

client::client() noexcept = default;

client::client(client&&) noexcept = default;

client& client::operator=(client&& other) noexcept
{
    std::swap(body_, other.body_);
    return *this;
}

client::~client()
{
    if (body_) {
        body_->requests->close(errc::cancelled);
    }
}

const client::properties& client::current() const noexcept
{
    return body_->current;
}

void client::start_open(runtime& rt, const uri& where, const client_options& options, handler_of<client> handler)
{
    // The client stays the runtime's until the handler takes it: should the runtime end first, it must go before it.
    struct opening {
        handler_of<client> handler;
        error_code error;
        client made;
    };
    auto waiting = std::make_shared<opening>(opening{std::move(handler), {}, {}});
    const std::weak_ptr<opening> weak = waiting;
    rt.keep(std::move(waiting));
    auto open
        = [](std::weak_ptr<opening> into, runtime& on, uri target, client_options wanted) -> asio::awaitable<void> {
        auto opened = co_await connect_any(into, on, std::move(target), wanted);
        const auto one = into.lock();
        if (!one) {
            co_return;
        }
        one->error = opened.error;
        if (!opened.error.failed()) {
            auto body = std::make_unique<implementation>();
            body->current = describe(opened.made->properties(), wanted.checksum);
            body->requests = client_requests::create(on, std::move(opened.made), wanted.checksum);
            one->made = client(std::move(body));
        }
    };
    asio::co_spawn(rt.executor(), open(weak, rt, where, options), [weak, &rt](std::exception_ptr thrown) {
        if (const auto one = weak.lock()) {
            rt.drop(one.get());
            const auto error = thrown ? make_error_code(errc::no_memory) : one->error;
            completion::call_handler(std::move(one->handler), rt.executor(), error, std::move(one->made));
        }
    });
}

void client::start_open_object(std::string name, memory::local_buffer into, handler_of<opened_object> handler)
{
    request asked;
    asked.op = operation::open;
    asked.name = name;
    body_->requests->start(asked, into, answer_with(body_->requests, std::move(handler), [](const response& answer) {
        return opened_object{answer.info, {answer.handle}, static_cast<std::size_t>(answer.bytes)};
    }));
}

void client::start_read(
    object_handle object, std::uint64_t offset, memory::local_buffer into, handler_of<std::size_t> handler)
{
    request asked;
    asked.op = operation::read;
    asked.handle = object.id;
    asked.offset = offset;
    body_->requests->start(asked, into, answer_with(body_->requests, std::move(handler), [](const response& answer) {
        return static_cast<std::size_t>(answer.bytes);
    }));
}

void client::start_put(
    std::string name, std::uint32_t permissions, durability wanted, memory::local_buffer from, handler_of<> handler)
{
    request asked;
    asked.op = operation::put;
    asked.name = name;
    asked.permissions = permissions & permissions_mask;
    asked.promise = wanted;
    body_->requests->start(asked, from, answer_plainly(body_->requests, std::move(handler)));
}

void client::start_create(
    std::string name, std::uint64_t size, std::uint32_t permissions, handler_of<object_handle> handler)
{
    request asked;
    asked.op = operation::create;
    asked.name = name;
    asked.offset = size;
    asked.permissions = permissions & permissions_mask;
    body_->requests->start(asked, {}, answer_with(body_->requests, std::move(handler), [](const response& answer) {
        return object_handle{answer.handle};
    }));
}

void client::start_write(object_handle object, std::uint64_t offset, memory::local_buffer from, handler_of<> handler)
{
    request asked;
    asked.op = operation::write;
    asked.handle = object.id;
    asked.offset = offset;
    body_->requests->start(asked, from, answer_plainly(body_->requests, std::move(handler)));
}

void client::start_commit(object_handle object, durability wanted, handler_of<> handler)
{
    request asked;
    asked.op = operation::commit;
    asked.handle = object.id;
    asked.promise = wanted;
    body_->requests->start(asked, {}, answer_plainly(body_->requests, std::move(handler)));
}

void client::start_close(object_handle object, handler_of<> handler)
{
    request asked;
    asked.op = operation::close;
    asked.handle = object.id;
    body_->requests->start(asked, {}, answer_plainly(body_->requests, std::move(handler)));
}

void client::start_make_directory(std::string name, handler_of<> handler)
{
    request asked;
    asked.op = operation::make_directory;
    asked.name = name;
    body_->requests->start(asked, {}, answer_plainly(body_->requests, std::move(handler)));
}

void client::start_stat(std::string name, handler_of<object_info> handler)
{
    request asked;
    asked.op = operation::stat;
    asked.name = name;
    body_->requests->start(asked, {},
        answer_with(body_->requests, std::move(handler), [](const response& answer) { return answer.info; }));
}

void client::start_list(
    std::string directory, std::string after, memory::local_buffer scratch, handler_of<list_page> handler)
{
    request asked;
    asked.op = operation::list;
    asked.name = directory;
    asked.after = after;
    body_->requests->start(asked, scratch,
        [home = body_->requests->executor(), scratch, handler = std::move(handler)](
            error_code error, const response& answer) mutable {
            list_page page;
            if (!error.failed()) {
                auto entries = decode_entries(scratch.bytes().first(static_cast<std::size_t>(answer.bytes)));
                error = entries ? error_code{} : entries.error();
                page.entries = entries ? std::move(*entries) : std::vector<list_entry>{};
                page.more = answer.more;
            }
            completion::call_handler(std::move(handler), home, error, std::move(page));
        });
}

} // namespace penstock::storage
