#include <penstock/core/identifier.hpp>

#include <bit>
#include <cstring>

namespace penstock {
namespace {

constexpr std::string_view hexadecimal_digits = "0123456789abcdef";

// -1 if `character` is no hexadecimal digit.
int digit_value(char character) noexcept
{
    if (character >= '0' && character <= '9')
        return character - '0';
    if (character >= 'a' && character <= 'f')
        return character - 'a' + 10;
    if (character >= 'A' && character <= 'F')
        return character - 'A' + 10;
    return -1;
}

} // namespace

identifier make_identifier(random_source& source) noexcept
{
    identifier id;
    while (!id)
        source.fill(id.bytes);
    return id;
}

std::string to_string(const identifier& id)
{
    std::string text;
    text.reserve(id.bytes.size() * 2);
    for (const std::byte byte : id.bytes) {
        const auto value = std::to_integer<unsigned>(byte);
        text += hexadecimal_digits[value >> 4];
        text += hexadecimal_digits[value & 15];
    }
    return text;
}

result<identifier> parse_identifier(std::string_view text) noexcept
{
    identifier id;
    if (text.size() != id.bytes.size() * 2)
        return make_error_code(errc::invalid_argument);
    for (std::size_t i = 0; i != id.bytes.size(); ++i) {
        const int high = digit_value(text[2 * i]);
        const int low = digit_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return make_error_code(errc::invalid_argument);
        id.bytes[i] = static_cast<std::byte>(high * 16 + low);
    }
    return id;
}

std::size_t hash_value(const identifier& id) noexcept
{
    std::array<std::uint64_t, 2> halves{};
    std::memcpy(halves.data(), id.bytes.data(), sizeof halves);
    return static_cast<std::size_t>((halves[0] * 0xc2b2ae3d27d4eb4f) ^ std::rotl(halves[1] * 0x9e3779b97f4a7c15, 32));
}

} // namespace penstock
