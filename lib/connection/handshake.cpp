#include "handshake.hpp"
#include "handshake_wire.hpp"

#include <algorithm>

namespace penstock::connection {

client_handshake::action client_handshake::fail_with(error_code why) noexcept
{
    state_ = state::failed;
    error_ = why;
    return action::fail;
}

error_code client_handshake::check_answer() const noexcept
{
    const bool verbs = answer_.transport == fabric::transport::verbs;
    if (answer_.depth == 0 || answer_.depth > opening_.depth || answer_.data_port == 0
        || answer_.transfer_bytes_max == 0 || answer_.lanes > opening_.lanes || answer_.epoch != opening_.epoch
        || (answer_.features & ~opening_.features) != 0 || (verbs && !opening_.has_verbs)) {
        return errc::malformed_message;
    }
    // The server may not overrule the choice.
    if ((opening_.wants == transport_choice::verbs && !verbs) || (opening_.wants == transport_choice::tcp && verbs)) {
        return errc::remote_refused_feature;
    }
    return {};
}

client_handshake::action client_handshake::on_message(std::span<const std::byte> message)
{
    auto decoded = decode_control(message);
    if (!decoded) {
        return fail_with(decoded.error());
    }
    if (state_ != state::waiting_for_answer) {
        return fail_with(errc::unexpected_message);
    }
    if (decoded->type == control_type::refused) {
        return fail_with(decoded->why);
    }
    if (decoded->type != control_type::welcome) {
        return fail_with(errc::unexpected_message);
    }
    answer_ = std::move(decoded->answer);
    if (const auto error = check_answer(); error.failed()) {
        return fail_with(error);
    }
    state_ = state::answered;
    return action::open_data_lanes;
}

server_handshake::action server_handshake::fail_with(error_code why) noexcept
{
    state_ = state::failed;
    error_ = why;
    return action::fail;
}

server_handshake::action server_handshake::choose()
{
    const bool verbs_possible = offer_.has_verbs && opening_.has_verbs;
    const bool verbs_required = opening_.wants == transport_choice::verbs || offer_.allows == transport_choice::verbs;
    const bool tcp_required = opening_.wants == transport_choice::tcp || offer_.allows == transport_choice::tcp;
    if (verbs_required && (!verbs_possible || tcp_required)) {
        state_ = state::failed;
        error_ = errc::remote_refused_feature;
        return action::send_refused;
    }
    const bool verbs = verbs_possible && !tcp_required;
    answer_.transport = verbs ? fabric::transport::verbs : fabric::transport::tcp;
    if (verbs) {
        answer_.reason = "both sides have an RDMA device";
    } else if (opening_.wants == transport_choice::tcp) {
        answer_.reason = "the client asked for tcp";
    } else if (offer_.allows == transport_choice::tcp) {
        answer_.reason = "the server allows tcp only";
    } else if (!offer_.has_verbs) {
        answer_.reason = "at the server: " + offer_.verbs_reason;
    } else {
        answer_.reason = "the client has no RDMA device";
    }
    answer_.reason.resize(std::min(answer_.reason.size(), reason_bytes_max));
    std::replace_if(
        answer_.reason.begin(), answer_.reason.end(), [](char c) { return c < 0x20 || c > 0x7e; }, '?');
    answer_.depth = std::min({opening_.depth, offer_.depth, depth_max});
    answer_.data_port = verbs ? offer_.verbs_port : offer_.tcp_port;
    answer_.transfer_bytes_max = offer_.transfer_bytes_max;
    answer_.lanes = static_cast<std::uint8_t>(std::min<std::uint32_t>(opening_.lanes, offer_.lanes));
    std::fill(answer_.secrets.begin() + answer_.lanes, answer_.secrets.end(), identifier{});
    answer_.features = opening_.features & offer_.features;
    answer_.epoch = opening_.epoch;
    answer_.instance = offer_.instance;
    state_ = state::waiting_for_lanes;
    return action::send_welcome;
}

server_handshake::action server_handshake::on_message(std::span<const std::byte> message)
{
    auto decoded = decode_control(message);
    if (!decoded) {
        const bool told = state_ == state::waiting_for_hello && decoded.error() == errc::unsupported_version;
        (void)fail_with(decoded.error());
        return told ? action::send_refused : action::fail;
    }
    if (decoded->type != control_type::hello || state_ != state::waiting_for_hello) {
        return fail_with(errc::unexpected_message);
    }
    opening_ = decoded->opening;
    return choose();
}

bool same_secret(const identifier& a, const identifier& b) noexcept
{
    unsigned difference = 0;
    for (std::size_t i = 0; i != a.bytes.size(); ++i) {
        difference |= std::to_integer<unsigned>(a.bytes[i] ^ b.bytes[i]);
    }
    return difference == 0;
}

bool server_handshake::admits(const ticket& presented) const noexcept
{
    return state_ == state::waiting_for_lanes && presented.lane < answer_.lanes && !opened_[presented.lane]
        && same_secret(answer_.secrets[presented.lane], presented.secret) && presented.connection == answer_.connection
        && presented.epoch == answer_.epoch;
}

bool server_handshake::on_lane(std::size_t lane) noexcept
{
    opened_[lane] = true;
    return std::count(opened_.begin(), opened_.end(), true) == answer_.lanes;
}

bool server_handshake::on_established() noexcept
{
    if (state_ == state::waiting_for_lanes && ++usable_ == answer_.lanes) {
        state_ = state::established;
    }
    return state_ == state::established;
}

} // namespace penstock::connection
