#pragma once

// A store on a server, as seen by its client.
//
// Data moves by the server's one-sided reads and writes, out of and into registered memory of this process, through a
// memory window that exists for one request. Every operation ends exactly once, and then nobody can reach its buffer
// any more.

#include <penstock/connection/runtime.hpp>
#include <penstock/memory/memory_pool.hpp>
#include <penstock/storage/object.hpp>
#include <penstock/storage/uri.hpp>

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/async_result.hpp>

#include <memory>
#include <string>

namespace penstock::storage {

enum class checksum_mode : std::uint8_t { off, crc32c };

struct client_options {
    transport_choice transport = transport_choice::automatic;
    checksum_mode checksum = checksum_mode::crc32c;
    std::uint32_t depth = 64; ///< requests outstanding at most; the server may lower it
    std::chrono::milliseconds connect_timeout{5'000};
};

/// An object opened for reading or writing at the server. A plain value; it dies with its client or by async_close.
struct object_handle {
    std::uint32_t id = 0; ///< 0: none (the object came whole)
};

struct opened_object {
    object_info info;
    object_handle handle;  ///< none when the whole object is in the buffer
    std::size_t bytes = 0; ///< of the object, from its start, now in the buffer
};

/// Threads: the runtime's executor only.
///
/// Every operation has the completion signature given with it, takes any completion token, and runs its handler on the
/// handler's associated executor (the runtime's by default), never inside the initiating function. The buffer belongs to the operation
/// until its completion. Errors common to all: connection_lost, connection_closed, send_queue_full (more than
/// `properties().depth` requests), invalid_argument, the server's answer (not_found, permission_denied, no_space, ...),
/// and the codes of the protocol group.
class client {
public:
    struct implementation;

    client() noexcept; ///< no connection: only good for being assigned to
    client(client&&) noexcept;
    client& operator=(client&&) noexcept;
    /// Closes abruptly: what is outstanding completes with errc::cancelled after its buffers are fenced.
    ~client();

    struct properties {
        fabric::transport transport{};
        std::string transport_reason; ///< why this one: one sentence for people
        std::string device;
        fabric::endpoint remote;
        std::uint32_t depth = 0;
        std::size_t transfer_bytes_max = 0; ///< longest buffer of one operation
        checksum_mode checksum{};
    };
    const properties& current() const noexcept;

    /// *Completion signature.* void(error_code, client).
    /// *Errors.* refused, unreachable, timed_out, no_device (verbs wanted, none here), remote_refused_feature (verbs wanted,
    /// the server has none), and those of the protocol group.
    template <class Token>
    static auto async_open(runtime& rt, const uri& where, const client_options& options, Token&& token)
    {
        return boost::asio::async_initiate<Token, void(error_code, client)>(
            [&rt](auto handler, const uri& target, const client_options& wanted) {
                start_open(rt, target, wanted, std::move(handler));
            },
            token, where, options);
    }

    /// Opens `name` for reading and reads its first bytes into `into` (which may be empty). An object that fits comes whole,
    /// verified, and needs no close.
    /// *Completion signature.* void(error_code, opened_object). *Completion means* placed and verified.
    template <class Token>
    auto async_open_object(std::string name, memory::local_buffer into, Token&& token)
    {
        return boost::asio::async_initiate<Token, void(error_code, opened_object)>(
            [this](auto handler, std::string object, memory::local_buffer buffer) {
                start_open_object(std::move(object), buffer, std::move(handler));
            },
            token, std::move(name), into);
    }

    /// Reads up to `into.size()` bytes from `offset`; fewer only at the object's end.
    /// *Completion signature.* void(error_code, std::size_t). *Completion means* placed and verified.
    /// *Errors.* changed_underneath, integrity_error, remote_io_error.
    template <class Token>
    auto async_read(object_handle object, std::uint64_t offset, memory::local_buffer into, Token&& token)
    {
        return boost::asio::async_initiate<Token, void(error_code, std::size_t)>(
            [this](auto handler, object_handle handle, std::uint64_t from, memory::local_buffer buffer) {
                start_read(handle, from, buffer, std::move(handler));
            },
            token, object, offset, into);
    }

    /// Stores a whole object in one request, replacing what has the name. Readers see the old or the new one.
    /// Missing directories are made. *Completion signature.* void(error_code). *Completion means* as `wanted` says.
    template <class Token>
    auto async_put(
        std::string name, std::uint32_t permissions, durability wanted, memory::local_buffer from, Token&& token)
    {
        return boost::asio::async_initiate<Token, void(error_code)>(
            [this](
                auto handler, std::string object, std::uint32_t mode, durability promise, memory::local_buffer buffer) {
                start_put(std::move(object), mode, promise, buffer, std::move(handler));
            },
            token, std::move(name), permissions, wanted, from);
    }

    /// Begins an object of `size` bytes, to be written in any order and made visible by async_commit; async_close instead
    /// drops it. *Completion signature.* void(error_code, object_handle).
    template <class Token>
    auto async_create(std::string name, std::uint64_t size, std::uint32_t permissions, Token&& token)
    {
        return boost::asio::async_initiate<Token, void(error_code, object_handle)>(
            [this](auto handler, std::string object, std::uint64_t bytes, std::uint32_t mode) {
                start_create(std::move(object), bytes, mode, std::move(handler));
            },
            token, std::move(name), size, permissions);
    }

    /// *Completion signature.* void(error_code). *Completion means* placed at the server, verified there, not yet visible.
    template <class Token>
    auto async_write(object_handle object, std::uint64_t offset, memory::local_buffer from, Token&& token)
    {
        return boost::asio::async_initiate<Token, void(error_code)>(
            [this](auto handler, object_handle handle, std::uint64_t to, memory::local_buffer buffer) {
                start_write(handle, to, buffer, std::move(handler));
            },
            token, object, offset, from);
    }

    /// Makes a created object visible under its name, and ends the handle, also on an error.
    /// *Completion signature.* void(error_code). *Errors.* wrong_state when not all of its bytes were written.
    template <class Token>
    auto async_commit(object_handle object, durability wanted, Token&& token)
    {
        return boost::asio::async_initiate<Token, void(error_code)>(
            [this](auto handler, object_handle handle, durability promise) {
                start_commit(handle, promise, std::move(handler));
            },
            token, object, wanted);
    }

    /// Ends a handle; a created object that was not committed is dropped. *Completion signature.* void(error_code).
    template <class Token>
    auto async_close(object_handle object, Token&& token)
    {
        return boost::asio::async_initiate<Token, void(error_code)>(
            [this](auto handler, object_handle handle) { start_close(handle, std::move(handler)); }, token, object);
    }

    /// Makes a directory and those above it; one that exists is not an error. *Completion signature.* void(error_code).
    template <class Token>
    auto async_make_directory(std::string name, Token&& token)
    {
        return boost::asio::async_initiate<Token, void(error_code)>(
            [this](auto handler, std::string directory) {
                start_make_directory(std::move(directory), std::move(handler));
            },
            token, std::move(name));
    }

    /// What a name is. *Completion signature.* void(error_code, object_info). *Errors.* not_found.
    template <class Token>
    auto async_stat(std::string name, Token&& token)
    {
        return boost::asio::async_initiate<Token, void(error_code, object_info)>(
            [this](auto handler, std::string object) { start_stat(std::move(object), std::move(handler)); }, token,
            std::move(name));
    }

    /// Entries of a directory after `after` ("" for the first page), as many as fit `scratch` (at least 64 KiB).
    /// *Completion signature.* void(error_code, list_page).
    template <class Token>
    auto async_list(std::string directory, std::string after, memory::local_buffer scratch, Token&& token)
    {
        return boost::asio::async_initiate<Token, void(error_code, list_page)>(
            [this](auto handler, std::string name, std::string last, memory::local_buffer buffer) {
                start_list(std::move(name), std::move(last), buffer, std::move(handler));
            },
            token, std::move(directory), std::move(after), scratch);
    }

private:
    template <class... Args>
    using handler_of = boost::asio::any_completion_handler<void(error_code, Args...)>;

    explicit client(std::unique_ptr<implementation> body) noexcept;

    static void start_open(runtime& rt, const uri& where, const client_options& options, handler_of<client> handler);
    void start_open_object(std::string name, memory::local_buffer into, handler_of<opened_object> handler);
    void start_read(object_handle, std::uint64_t offset, memory::local_buffer into, handler_of<std::size_t> handler);
    void start_put(std::string name, std::uint32_t permissions, durability wanted, memory::local_buffer from,
        handler_of<> handler);
    void start_create(
        std::string name, std::uint64_t size, std::uint32_t permissions, handler_of<object_handle> handler);
    void start_write(object_handle, std::uint64_t offset, memory::local_buffer from, handler_of<> handler);
    void start_commit(object_handle, durability wanted, handler_of<> handler);
    void start_close(object_handle, handler_of<> handler);
    void start_make_directory(std::string name, handler_of<> handler);
    void start_stat(std::string name, handler_of<object_info> handler);
    void start_list(
        std::string directory, std::string after, memory::local_buffer scratch, handler_of<list_page> handler);

    std::unique_ptr<implementation> body_;
};

} // namespace penstock::storage
