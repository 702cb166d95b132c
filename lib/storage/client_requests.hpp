#pragma once

// The requests of one client that are in flight: their slots, windows and answers.

#include "storage/messages.hpp"

#include <penstock/connection/connection.hpp>
#include <penstock/memory/memory_pool.hpp>
#include <penstock/storage/client.hpp>

#include <boost/asio/any_completion_handler.hpp>

#include <cstdint>
#include <memory>
#include <vector>

namespace penstock::storage {

inline constexpr connection::message_limits message_limits{
    static_cast<std::uint32_t>(request_bytes_max), static_cast<std::uint32_t>(response_bytes), 0};

/// A request's buffer is reachable by the server from the bind in its doorbell until its window is invalidated (after the answer),
/// or the lane is gone; it completes after that and never before.
/// Threads: the runtime's executor.
class client_requests : public std::enable_shared_from_this<client_requests> {
public:
    using finish_handler = boost::asio::any_completion_handler<void(error_code, const response&)>;

    static std::shared_ptr<client_requests> create(
        runtime& rt, std::unique_ptr<connection::connection> over, checksum_mode checksum);

    /// `asked` needs neither id, window nor checksum. `finish` is called once, never inside this call.
    void start(request asked, memory::local_buffer buffer, finish_handler finish);

    /// Fails what is in flight with `why` once it is fenced, and refuses what comes later. Idempotent.
    void close(error_code why);

    boost::asio::any_io_executor executor() const { return runtime_.executor(); }

private:
    struct pending {
        request asked{};
        memory::local_buffer buffer{};
        fabric::memory_window* window = nullptr;
        finish_handler finish;
        response answer{};
        std::uint16_t generation = 0;
        bool active = false;
        bool sent = false; ///< the send's completion is here: its message slot is free again
        bool answered = false;
        bool fenced = false; ///< the window is invalid, or there is none
    };

    client_requests(runtime& rt, std::unique_ptr<connection::connection> over, checksum_mode checksum);

    error_code post(std::uint32_t slot);
    void invalidate(std::uint32_t slot);
    void on_answer(std::span<const std::byte> message);
    void advance(std::uint32_t slot);
    void finish(std::uint32_t slot, error_code error);
    void refuse(finish_handler finish, error_code why);
    error_code verify(const pending& one) const;
    void fail_all();

    runtime& runtime_;
    std::unique_ptr<connection::connection> connection_;
    checksum_mode checksum_;
    std::size_t transfer_bytes_max_;
    std::vector<pending> slots_;
    std::vector<std::uint32_t> free_;
    error_code closed_;
};

} // namespace penstock::storage
