#include <penstock/storage/uri.hpp>

#include <algorithm>
#include <charconv>

namespace penstock::storage {
namespace {

constexpr std::string_view scheme = "penstock://";
constexpr std::string_view hex_digits = "0123456789ABCDEF";

char lower(char c) noexcept
{
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is_alphanumeric(char c) noexcept
{
    return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9');
}

bool is_one_of(char c, std::string_view set) noexcept
{
    return set.find(c) != std::string_view::npos;
}

// 0-15, or -1.
int hex_value(char c) noexcept
{
    if (c >= '0' && c <= '9')
        return c - '0';
    const auto letter = lower(c);
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

bool has_scheme(std::string_view text) noexcept
{
    return text.size() >= scheme.size()
        && std::equal(scheme.begin(), scheme.end(), text.begin(), [](char a, char b) { return a == lower(b); });
}

result<std::string> percent_decode(std::string_view text)
{
    std::string decoded;
    decoded.reserve(text.size());
    for (std::size_t i = 0; i != text.size(); ++i) {
        if (text[i] != '%') {
            decoded.push_back(text[i]);
            continue;
        }
        if (text.size() - i < 3)
            return errc::invalid_argument;
        const auto high = hex_value(text[i + 1]);
        const auto low = hex_value(text[i + 2]);
        if (high < 0 || low < 0)
            return errc::invalid_argument;
        decoded.push_back(static_cast<char>(high * 16 + low));
        i += 2;
    }
    return decoded;
}

// The zone of a link-local address follows a '%', which RFC 6874 writes %25; people write it bare.
result<std::string> parse_ipv6(std::string_view text)
{
    const auto percent = text.find('%');
    const auto address = text.substr(0, percent);
    const auto is_address = [](char c) { return hex_value(c) >= 0 || is_one_of(c, ":."); };
    if (address.find(':') == std::string_view::npos || !std::all_of(address.begin(), address.end(), is_address))
        return errc::invalid_argument;
    std::string host(address);
    if (percent == std::string_view::npos)
        return host;
    auto zone = text.substr(percent + 1);
    if (zone.size() > 2 && zone.starts_with("25"))
        zone.remove_prefix(2);
    const auto is_zone = [](char c) { return is_alphanumeric(c) || is_one_of(c, "-._~"); };
    if (zone.empty() || !std::all_of(zone.begin(), zone.end(), is_zone))
        return errc::invalid_argument;
    host.append("%").append(zone);
    return host;
}

error_code parse_port(std::string_view text, std::uint16_t& port)
{
    unsigned value = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failure != std::errc{} || end != text.data() + text.size() || value < 1 || value > 65'535)
        return errc::invalid_argument;
    port = static_cast<std::uint16_t>(value);
    return {};
}

error_code parse_authority(std::string_view text, uri& where)
{
    std::string_view after_host;
    if (text.starts_with('[')) {
        const auto bracket = text.find(']');
        if (bracket == std::string_view::npos)
            return errc::invalid_argument;
        auto host = parse_ipv6(text.substr(1, bracket - 1));
        if (!host)
            return host.error();
        where.host = std::move(*host);
        after_host = text.substr(bracket + 1);
    } else {
        const auto host = text.substr(0, text.find(':'));
        const auto is_host = [](char c) { return is_alphanumeric(c) || is_one_of(c, "-._"); };
        if (host.empty() || !std::all_of(host.begin(), host.end(), is_host))
            return errc::invalid_argument;
        where.host = host;
        after_host = text.substr(host.size());
    }
    if (after_host.empty())
        return {};
    if (!after_host.starts_with(':'))
        return errc::invalid_argument;
    return parse_port(after_host.substr(1), where.port);
}

// A '/' separates; the last one must not, or it would be read back as the mark of a directory.
void append_encoded(std::string& text, std::string_view name)
{
    for (std::size_t i = 0; i != name.size(); ++i) {
        const auto c = name[i];
        const bool last = i + 1 == name.size();
        if (is_alphanumeric(c) || is_one_of(c, "-._~!$&'()*+,;=:@") || (c == '/' && !last)) {
            text.push_back(c);
            continue;
        }
        const auto byte = static_cast<unsigned char>(c);
        text.push_back('%');
        text.push_back(hex_digits[byte >> 4U]);
        text.push_back(hex_digits[byte & 15U]);
    }
}

} // namespace

result<uri> parse_uri(std::string_view text)
{
    if (!has_scheme(text) || text.find_first_of("?#") != std::string_view::npos)
        return errc::invalid_argument;
    text.remove_prefix(scheme.size());
    const auto slash = text.find('/');
    uri where;
    if (const auto failure = parse_authority(text.substr(0, slash), where))
        return failure;
    auto path = slash == std::string_view::npos ? std::string_view{} : text.substr(slash + 1);
    where.names_directory = path.empty() || path.ends_with('/');
    // "//" stays the name "/", which is_valid_name refuses: it must not silently mean the root.
    if (path.size() > 1 && path.ends_with('/'))
        path.remove_suffix(1);
    auto name = percent_decode(path);
    if (!name)
        return name.error();
    where.name = std::move(*name);
    return where;
}

std::string to_string(const uri& where)
{
    std::string text(scheme);
    if (where.host.find(':') == std::string::npos) {
        text += where.host;
    } else {
        const auto percent = where.host.find('%');
        text.append("[").append(where.host, 0, percent);
        if (percent != std::string::npos)
            text.append("%25").append(where.host, percent + 1);
        text += ']';
    }
    if (where.port != default_port)
        text += ':' + std::to_string(where.port);
    text += '/';
    append_encoded(text, where.name);
    if (where.names_directory && !where.name.empty())
        text += '/';
    return text;
}

} // namespace penstock::storage
