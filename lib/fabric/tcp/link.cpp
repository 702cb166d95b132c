#include "fabric/tcp/link.hpp"

#include <cerrno>
#include <sys/socket.h>

namespace penstock::fabric::tcp {

void channel_inbox::leave(const notice& word)
{
    {
        const std::lock_guard lock(mutex);
        notices.push_back(word);
    }
    signal_event(event.get());
}

void link::attach(std::shared_ptr<channel_inbox> inbox, std::uint64_t connection)
{
    const std::lock_guard lock(mutex_);
    inbox_ = std::move(inbox);
    connection_ = connection;
}

void link::detach()
{
    const std::lock_guard lock(mutex_);
    inbox_.reset();
}

void link::open(unique_descriptor socket, const link_terms& terms, phase reached) noexcept
{
    socket_ = std::move(socket);
    terms_ = terms;
    phase_.store(reached);
    if (abandoned())
        ::shutdown(socket_.get(), SHUT_RDWR);
    receive_signal_->ring();
    if (send_signal_ != receive_signal_)
        send_signal_->ring();
}

void link::request_close() noexcept
{
    const auto seen = gate_.fetch_or(requested, std::memory_order_acq_rel);
    failed_.store(true, std::memory_order_release);
    if (reached() != phase::initial && (seen & (writing | closed)) == 0) {
        auto idle = requested;
        if (gate_.compare_exchange_strong(idle, requested | closed, std::memory_order_acq_rel))
            say_goodbye();
    }
    receive_signal_->ring();
    if (send_signal_ != receive_signal_)
        send_signal_->ring();
}

void link::say_goodbye() noexcept
{
    frame_header goodbye;
    goodbye.type = frame_type::disconnect;
    goodbye.acknowledge = acknowledge_.load(std::memory_order_relaxed);
    header_buffer bytes;
    encode(goodbye, bytes);
    // A full socket loses it, and the peer sees a death instead of a good-bye.
    [[maybe_unused]] const auto sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    ::shutdown(socket_.get(), SHUT_WR);
}

link::ready_result link::take_ready() noexcept
{
    if (reached() == phase::established)
        return ready_result::taken;
    if (ready_busy_.exchange(true, std::memory_order_acquire))
        return ready_result::pending;
    const auto result = reached() == phase::established ? ready_result::taken : read_ready();
    ready_busy_.store(false, std::memory_order_release);
    return result;
}

link::ready_result link::read_ready() noexcept
{
    const auto got = ::recv(socket_.get(), ready_.data() + ready_bytes_, ready_.size() - ready_bytes_, MSG_DONTWAIT);
    if (got <= 0)
        return got < 0 && (errno == EAGAIN || errno == EINTR) ? ready_result::pending : ready_result::dead;
    ready_bytes_ += static_cast<std::size_t>(got);
    if (ready_bytes_ < ready_.size())
        return ready_result::pending;
    handshake_header header;
    if (!decode(ready_, header) || header.kind != handshake_kind::ready)
        return ready_result::dead;
    phase_.store(phase::established);
    tell(connection_event_type::established);
    return ready_result::taken;
}

void link::tell_once_only()
{
    const std::lock_guard lock(mutex_);
    told_disconnected_ = true;
}

void link::tell(connection_event_type type)
{
    const std::lock_guard lock(mutex_);
    bool& told = type == connection_event_type::established ? told_established_ : told_disconnected_;
    if (!inbox_ || told)
        return;
    told = true;
    inbox_->leave({connection_, type});
}

} // namespace penstock::fabric::tcp
