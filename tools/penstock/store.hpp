#pragma once

// The client's operations as coroutines that keep to its depth, and stop when the session does.
//
// Every one: waits for a free request, returns the session's reason to stop instead of starting when there is one, and tells the
// session of a code that ends the connection.

#include "session.hpp"

namespace penstock::command {

/// Threads: the session's.
class store {
public:
    explicit store(session& on)
        : session_(&on)
        , requests_(on.executor(), on.properties().depth)
    {}

    awaitable<result<storage::opened_object>> open(std::string name, memory::local_buffer into);
    awaitable<result<std::size_t>> read(storage::object_handle object, std::uint64_t offset, memory::local_buffer into);
    awaitable<error_code> put(
        std::string name, std::uint32_t permissions, storage::durability wanted, memory::local_buffer from);
    awaitable<result<storage::object_handle>> create(std::string name, std::uint64_t size, std::uint32_t permissions);
    awaitable<error_code> write(storage::object_handle object, std::uint64_t offset, memory::local_buffer from);
    awaitable<error_code> commit(storage::object_handle object, storage::durability wanted);
    awaitable<error_code> close(storage::object_handle object);
    awaitable<error_code> make_directory(std::string name);
    awaitable<result<storage::object_info>> stat(std::string name);
    /// All pages of a directory.
    awaitable<result<std::vector<storage::list_entry>>> list(std::string directory);

private:
    error_code note(const error_code& ec);

    session* session_;
    gate requests_;
};

} // namespace penstock::command
