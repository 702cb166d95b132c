#include "fabric/tcp/handshake.hpp"

#include <algorithm>
#include <cerrno>
#include <sys/socket.h>

namespace penstock::fabric::tcp {

handshake_reader::outcome handshake_reader::read(int descriptor) noexcept
{
    for (;;) {
        const auto got = ::recv(descriptor, bytes_.data() + have_, want_ - have_, MSG_DONTWAIT);
        if (got < 0)
            return errno == EAGAIN || errno == EINTR ? outcome::pending : outcome::closed;
        if (got == 0)
            return outcome::closed;
        have_ += static_cast<std::size_t>(got);
        if (have_ != want_)
            continue;
        if (have_ > header_bytes)
            return outcome::complete;
        if (!decode(std::span<const std::byte, header_bytes>(bytes_.data(), header_bytes), header_))
            return outcome::garbage;
        if (header_.private_data_bytes == 0)
            return outcome::complete;
        want_ += header_.private_data_bytes;
    }
}

received_private_data handshake_reader::private_data() const noexcept
{
    received_private_data data;
    data.size = header_.private_data_bytes;
    std::copy_n(bytes_.begin() + header_bytes, data.size, data.storage.begin());
    return data;
}

bool write_handshake(int descriptor, handshake_header header, std::span<const std::byte> private_data) noexcept
{
    std::array<std::byte, header_bytes + accept_private_data_max> bytes;
    header.private_data_bytes = static_cast<std::uint32_t>(private_data.size());
    encode(header, std::span<std::byte, header_bytes>(bytes.data(), header_bytes));
    std::copy(private_data.begin(), private_data.end(), bytes.begin() + header_bytes);
    const auto length = header_bytes + private_data.size();
    return ::send(descriptor, bytes.data(), length, MSG_NOSIGNAL | MSG_DONTWAIT) == static_cast<ssize_t>(length);
}

} // namespace penstock::fabric::tcp
