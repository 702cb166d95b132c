#include <penstock/core/byte_size.hpp>

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

namespace penstock {
namespace {

constexpr std::uint64_t largest = std::numeric_limits<std::uint64_t>::max();
constexpr std::size_t fraction_digits_max = 9;

struct unit {
    std::string_view name;
    std::uint64_t bytes;
};

constexpr std::array binary_units{
    unit{"PiB", std::uint64_t{1} << 50},
    unit{"TiB", std::uint64_t{1} << 40},
    unit{"GiB", std::uint64_t{1} << 30},
    unit{"MiB", std::uint64_t{1} << 20},
    unit{"KiB", std::uint64_t{1} << 10},
};

constexpr std::array decimal_units{
    unit{"PB", 1'000'000'000'000'000},
    unit{"TB", 1'000'000'000'000},
    unit{"GB", 1'000'000'000},
    unit{"MB", 1'000'000},
    unit{"kB", 1'000},
};

constexpr char lower(char character) noexcept
{
    return character >= 'A' && character <= 'Z' ? static_cast<char>(character - 'A' + 'a') : character;
}

constexpr bool is_digit(char character) noexcept
{
    return character >= '0' && character <= '9';
}

std::optional<std::uint64_t> unit_bytes(std::string_view name) noexcept
{
    if (name.empty() || name == "B")
        return 1;
    for (const auto& [unit_name, bytes] : decimal_units)
        if (name == unit_name)
            return bytes;
    // "KiB" in any case: the "i" leaves no doubt.
    for (const auto& [unit_name, bytes] : binary_units)
        if (name.size() == 3 && lower(name[0]) == lower(unit_name[0]) && lower(name[1]) == 'i' && lower(name[2]) == 'b')
            return bytes;
    return std::nullopt;
}

// The leading run of digits, cut off `text`.
std::string_view take_digits(std::string_view& text) noexcept
{
    std::size_t count = 0;
    while (count != text.size() && is_digit(text[count]))
        ++count;
    const auto digits = text.substr(0, count);
    text.remove_prefix(count);
    return digits;
}

// floor(0.DIGITS * unit), without a product beyond 64 bits: every unit is at most 2^50 and DIGITS below 10^9.
std::uint64_t fraction_bytes(std::string_view digits, std::uint64_t unit) noexcept
{
    std::uint64_t numerator = 0;
    std::uint64_t denominator = 1;
    for (const char digit : digits) {
        numerator = numerator * 10 + static_cast<std::uint64_t>(digit - '0');
        denominator *= 10;
    }
    return unit / denominator * numerator + unit % denominator * numerator / denominator;
}

// "1.50" -> "1.5", "2.00" -> "2".
void strip_trailing_zeros(std::string& text)
{
    if (text.find('.') == std::string::npos)
        return;
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.')
        text.pop_back();
}

} // namespace

result<std::uint64_t> parse_byte_size(std::string_view text) noexcept
{
    const auto whole_digits = take_digits(text);
    if (whole_digits.empty())
        return make_error_code(errc::invalid_argument);
    std::string_view decimals;
    if (text.starts_with('.')) {
        text.remove_prefix(1);
        decimals = take_digits(text);
        if (decimals.empty() || decimals.size() > fraction_digits_max || text.empty())
            return make_error_code(errc::invalid_argument);
    }
    if (text.starts_with(' ')) {
        text.remove_prefix(1);
        if (text.empty())
            return make_error_code(errc::invalid_argument);
    }
    const auto unit = unit_bytes(text);
    if (!unit)
        return make_error_code(errc::invalid_argument);

    std::uint64_t whole = 0;
    const auto parsed = std::from_chars(whole_digits.data(), whole_digits.data() + whole_digits.size(), whole);
    if (parsed.ec != std::errc{} || whole > largest / *unit)
        return make_error_code(errc::out_of_range);
    const std::uint64_t fraction = fraction_bytes(decimals, *unit);
    if (fraction > largest - whole * *unit)
        return make_error_code(errc::out_of_range);
    return whole * *unit + fraction;
}

std::string format_byte_size(std::uint64_t bytes)
{
    std::string_view larger_name;
    for (const auto& [name, size] : binary_units) {
        if (bytes >= size) {
            // Rounded to the nearest hundredth with integers, so that what is exact stays exact.
            const std::uint64_t rest = bytes % size;
            std::uint64_t whole = bytes / size;
            std::uint64_t hundredths = (rest * 100 + size / 2) / size;
            if (hundredths == 100) {
                ++whole;
                hundredths = 0;
            }
            if (whole == 1024 && !larger_name.empty())
                return fmt::format("1{}", larger_name);
            auto text = fmt::format("{}.{:02}", whole, hundredths);
            strip_trailing_zeros(text);
            return text.append(name);
        }
        larger_name = name;
    }
    return fmt::format("{}B", bytes);
}

std::string format_byte_rate(double bytes_per_second)
{
    if (!std::isfinite(bytes_per_second) || bytes_per_second < 0)
        return "?B/s";
    // 999.5 would be printed as 1000: the next unit begins there.
    for (const auto& [name, size] : decimal_units) {
        const double value = bytes_per_second / static_cast<double>(size);
        if (value < 0.9995)
            continue;
        const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
        auto text = fmt::format("{:.{}f}", value, decimals);
        strip_trailing_zeros(text);
        return fmt::format("{}{}/s", text, name);
    }
    return fmt::format("{:.0f}B/s", bytes_per_second);
}

} // namespace penstock
