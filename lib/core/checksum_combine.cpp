#include <penstock/core/checksum.hpp>

#include <bit>

namespace penstock {
namespace {

// Polynomials over GF(2) modulo the CRC's, coefficients reflected as in the register: bit 31 is x^0, bit 0 is x^31.
using polynomial = std::uint32_t;

constexpr polynomial modulus = 0x82f63b78;
constexpr polynomial x_to_the_8 = polynomial{1} << (31 - 8);

constexpr polynomial multiply(polynomial left, polynomial right) noexcept
{
    polynomial product = 0;
    for (int power = 31; power >= 0; --power) {
        product ^= (0 - ((left >> power) & 1)) & right;
        right = (right >> 1) ^ ((0 - (right & 1)) & modulus); // times x
    }
    return product;
}

// x^(8 * 2^k): what 2^k zero bytes do to the register.
consteval std::array<polynomial, 64> make_powers()
{
    std::array<polynomial, 64> powers{};
    powers[0] = x_to_the_8;
    for (std::size_t k = 1; k != powers.size(); ++k)
        powers[k] = multiply(powers[k - 1], powers[k - 1]);
    return powers;
}

constexpr auto powers = make_powers();

} // namespace

std::uint32_t crc32c_combine(std::uint32_t crc_a, std::uint32_t crc_b, std::uint64_t length_b) noexcept
{
    // The inversions before and after cancel out, so finished values may be combined as they are.
    polynomial shifted = crc_a;
    for (; length_b != 0; length_b &= length_b - 1)
        shifted = multiply(shifted, powers[static_cast<std::size_t>(std::countr_zero(length_b))]);
    return shifted ^ crc_b;
}

} // namespace penstock
