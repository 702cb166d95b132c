#include <penstock/connection/message_credits.hpp>

#include <boost/endian/conversion.hpp>

#include <algorithm>
#include <utility>

namespace penstock::connection {
namespace {

constexpr auto kind_message = std::byte{1};
constexpr auto kind_credit = std::byte{2};

void write_header(message_credits::header into, std::byte kind, std::uint16_t returned) noexcept
{
    std::fill(into.begin(), into.end(), std::byte{});
    into[0] = kind;
    boost::endian::store_little_u16(reinterpret_cast<unsigned char*>(&into[2]), returned);
}

} // namespace

std::uint16_t message_credits::give_back() noexcept
{
    unreturned_ -= owed_;
    return static_cast<std::uint16_t>(std::exchange(owed_, 0));
}

void message_credits::send_message(header into) noexcept
{
    --available_;
    write_header(into, kind_message, give_back());
}

void message_credits::send_credit(header into) noexcept
{
    write_header(into, kind_credit, give_back());
}

message_credits::arrival message_credits::message_arrived(std::span<const std::byte> whole) noexcept
{
    if (whole.size() < message_header_bytes) {
        return arrival::malformed;
    }
    const auto kind = whole[0];
    const std::uint32_t returned
        = boost::endian::load_little_u16(reinterpret_cast<const unsigned char*>(whole.data() + 2));
    const auto reserved = boost::endian::load_little_u32(reinterpret_cast<const unsigned char*>(whole.data() + 4));
    if (whole[1] != std::byte{} || reserved != 0 || (kind != kind_message && kind != kind_credit)) {
        return arrival::malformed;
    }
    if (kind == kind_credit && (returned == 0 || whole.size() != message_header_bytes)) {
        return arrival::malformed;
    }
    if (returned > granted_ - available_) {
        return arrival::excess;
    }
    if (kind == kind_message && immediate_arrived() == arrival::excess) {
        return arrival::excess;
    }
    available_ += returned;
    return kind == kind_message ? arrival::message : arrival::credit;
}

message_credits::arrival message_credits::immediate_arrived() noexcept
{
    if (unreturned_ == granted_) {
        return arrival::excess;
    }
    ++unreturned_;
    return arrival::message;
}

} // namespace penstock::connection
