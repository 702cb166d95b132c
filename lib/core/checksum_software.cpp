#include "core/checksum_implementations.hpp"

#include <boost/endian/conversion.hpp>

namespace penstock::detail {
namespace {

constexpr std::uint32_t reflected_polynomial = 0x82f63b78;
constexpr std::size_t slice_count = 16;

using table_row = std::array<std::uint32_t, 256>;

// tables[k][v]: what the byte v leaves in the register after k more zero bytes have passed.
consteval std::array<table_row, slice_count> make_tables()
{
    std::array<table_row, slice_count> tables{};
    for (std::uint32_t value = 0; value != 256; ++value) {
        std::uint32_t crc = value;
        for (int bit = 0; bit != 8; ++bit)
            crc = (crc >> 1) ^ ((crc & 1) ? reflected_polynomial : 0);
        tables[0][value] = crc;
    }
    for (std::size_t slice = 1; slice != slice_count; ++slice)
        for (std::size_t value = 0; value != 256; ++value) {
            const std::uint32_t before = tables[slice - 1][value];
            tables[slice][value] = (before >> 8) ^ tables[0][before & 0xff];
        }
    return tables;
}

constexpr auto tables = make_tables();

std::uint32_t step(std::uint32_t crc, std::byte byte) noexcept
{
    return (crc >> 8) ^ tables[0][(crc ^ std::to_integer<std::uint32_t>(byte)) & 0xff];
}

// What the four bytes of `word`, lowest first, leave when `after` more bytes of the block follow them.
std::uint32_t slice_word(std::uint32_t word, std::size_t after) noexcept
{
    return tables[after + 3][word & 0xff] ^ tables[after + 2][(word >> 8) & 0xff]
        ^ tables[after + 1][(word >> 16) & 0xff] ^ tables[after][word >> 24];
}

} // namespace

std::uint32_t crc32c_reference(std::span<const std::byte> data, std::uint32_t seed) noexcept
{
    std::uint32_t crc = ~seed;
    for (const std::byte byte : data) {
        crc ^= std::to_integer<std::uint32_t>(byte);
        for (int bit = 0; bit != 8; ++bit)
            crc = (crc >> 1) ^ ((crc & 1) ? reflected_polynomial : 0);
    }
    return ~crc;
}

std::uint32_t crc32c_software(std::span<const std::byte> data, std::uint32_t seed) noexcept
{
    std::uint32_t crc = ~seed;
    const auto* bytes = reinterpret_cast<const unsigned char*>(data.data());
    std::size_t left = data.size();
    for (; left >= slice_count; left -= slice_count, bytes += slice_count)
        crc = slice_word(boost::endian::load_little_u32(bytes) ^ crc, 12)
            ^ slice_word(boost::endian::load_little_u32(bytes + 4), 8)
            ^ slice_word(boost::endian::load_little_u32(bytes + 8), 4)
            ^ slice_word(boost::endian::load_little_u32(bytes + 12), 0);
    for (const std::byte byte : data.last(left))
        crc = step(crc, byte);
    return ~crc;
}

} // namespace penstock::detail
