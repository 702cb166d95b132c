#include "storage/messages.hpp"

#include "storage/messages_fields.hpp"

#include <algorithm>
#include <cstring>

namespace penstock::storage {
namespace {

constexpr std::uint8_t flag_checksum = 1;
constexpr std::uint8_t flag_more = 2;

namespace at { // offsets that both headers share
constexpr std::size_t magic = 0;
constexpr std::size_t version = 1;
constexpr std::size_t operation_code = 2;
constexpr std::size_t flags = 3;
constexpr std::size_t id = 4;
constexpr std::size_t permissions = 40;
constexpr std::size_t crc32c = 44;
} // namespace at

namespace request_at {
constexpr std::size_t handle = 8;
constexpr std::size_t window_rkey = 12;
constexpr std::size_t window_address = 16;
constexpr std::size_t window_length = 24;
constexpr std::size_t offset = 32;
constexpr std::size_t name_length = 48;
constexpr std::size_t after_length = 52;
constexpr std::size_t promise = 56;
constexpr std::size_t reserved = 57;
} // namespace request_at

namespace response_at {
constexpr std::size_t status = 8;
constexpr std::size_t handle = 12;
constexpr std::size_t bytes = 16;
constexpr std::size_t size = 24;
constexpr std::size_t modified = 32;
constexpr std::size_t kind = 48;
constexpr std::size_t reserved = 49;
} // namespace response_at

bool is_known(operation op) noexcept
{
    return op >= operation::open && op <= operation::stat;
}

bool is_known(durability promise) noexcept
{
    return promise == durability::received || promise == durability::persisted;
}

bool is_one_of(operation op, std::initializer_list<operation> set) noexcept
{
    return std::find(set.begin(), set.end(), op) != set.end();
}

bool takes_name(operation op) noexcept
{
    return !is_one_of(op, {operation::read, operation::write, operation::commit, operation::close});
}

bool is_valid_window(const request& value) noexcept
{
    const auto& window = value.window;
    if (window.length == 0)
        return window == remote_window{} && value.op != operation::list;
    return (reads_from_window(value.op) || writes_to_window(value.op)) && window.length <= object_bytes_max
        && window.address <= UINT64_MAX - window.length;
}

bool is_valid_offset(const request& value) noexcept
{
    if (is_one_of(value.op, {operation::read, operation::write}))
        return value.offset <= object_bytes_max - value.window.length;
    return value.op == operation::create ? value.offset <= object_bytes_max : value.offset == 0;
}

bool is_valid_checksum(const request& value) noexcept
{
    if (!value.checksum)
        return value.crc32c == 0;
    return reads_from_window(value.op) || (writes_to_window(value.op) && value.crc32c == 0);
}

bool is_valid(const request& value) noexcept
{
    const bool keeps_object = is_one_of(value.op, {operation::put, operation::create});
    const bool promises = is_one_of(value.op, {operation::put, operation::commit});
    return is_known(value.op) && is_valid_window(value) && is_valid_offset(value) && is_valid_checksum(value)
        && takes_name(value.op) == (value.handle == 0) && (takes_name(value.op) || value.name.empty())
        && value.name.size() <= name_bytes_max && (value.op == operation::list || value.after.empty())
        && value.after.size() <= component_bytes_max && value.permissions <= (keeps_object ? permissions_mask : 0U)
        && (promises ? is_known(value.promise) : value.promise == durability::received);
}

bool is_empty(const object_info& info) noexcept
{
    return info.kind == object_kind::file && info.size == 0 && info.permissions == 0 && info.modified_ns == 0;
}

bool is_valid_info(const response& value) noexcept
{
    const auto& info = value.info;
    switch (value.op) {
    case operation::open:
        return is_valid(info) && info.kind == object_kind::file
            && (value.handle == 0 ? value.bytes == info.size : value.bytes <= info.size);
    case operation::stat: return is_valid(info);
    default: return is_empty(info);
    }
}

bool is_valid_handle(const response& value) noexcept
{
    if (value.op == operation::open)
        return true;
    return (value.op == operation::create) == (value.handle != 0);
}

bool is_valid(const response& value) noexcept
{
    if (!is_known(value.op))
        return false;
    const bool moves = writes_to_window(value.op) && !value.status;
    if (!moves && (value.bytes != 0 || value.checksum || value.more))
        return false;
    if (value.bytes > object_bytes_max || (!value.checksum && value.crc32c != 0)
        || (value.more && value.op != operation::list))
        return false;
    if (!value.status)
        return is_valid_info(value) && is_valid_handle(value);
    return value.status.category() == penstock_category() && is_wire_status(static_cast<errc>(value.status.value()))
        && value.handle == 0 && is_empty(value.info);
}

error_code check_preamble(std::span<const std::byte> message) noexcept
{
    if (load<std::uint8_t>(message, at::magic) != message_magic)
        return errc::bad_magic;
    if (load<std::uint8_t>(message, at::version) != protocol_version)
        return errc::unsupported_version;
    return {};
}

void store_preamble(std::span<std::byte> message, operation op, std::uint8_t flags, std::uint32_t id) noexcept
{
    store(message, at::magic, message_magic);
    store(message, at::version, protocol_version);
    store(message, at::operation_code, static_cast<std::uint8_t>(op));
    store(message, at::flags, flags);
    store(message, at::id, id);
}

bool is_zero(std::span<const std::byte> bytes) noexcept
{
    return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

std::string_view text(std::span<const std::byte> bytes) noexcept
{
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void copy(std::string_view from, std::span<std::byte> to) noexcept
{
    if (!from.empty())
        std::memcpy(to.data(), from.data(), from.size());
}

} // namespace

std::size_t encode(const request& value, std::span<std::byte> message) noexcept
{
    if (!is_valid(value))
        return 0;
    const auto bytes = request_header_bytes + value.name.size() + value.after.size();
    if (message.size() < bytes)
        return 0;
    std::fill_n(message.begin(), request_header_bytes, std::byte{0});
    store_preamble(message, value.op, value.checksum ? flag_checksum : std::uint8_t{0}, value.id);
    store(message, request_at::handle, value.handle);
    store(message, request_at::window_rkey, value.window.rkey);
    store(message, request_at::window_address, value.window.address);
    store(message, request_at::window_length, value.window.length);
    store(message, request_at::offset, value.offset);
    store(message, at::permissions, value.permissions);
    store(message, at::crc32c, value.crc32c);
    store(message, request_at::name_length, static_cast<std::uint32_t>(value.name.size()));
    store(message, request_at::after_length, static_cast<std::uint32_t>(value.after.size()));
    store(message, request_at::promise, static_cast<std::uint8_t>(value.promise));
    copy(value.name, message.subspan(request_header_bytes));
    copy(value.after, message.subspan(request_header_bytes + value.name.size()));
    return bytes;
}

result<request> decode_request(std::span<const std::byte> message) noexcept
{
    if (message.size() < request_header_bytes)
        return errc::malformed_message;
    if (const auto failure = check_preamble(message))
        return failure;
    const auto flags = load<std::uint8_t>(message, at::flags);
    const auto name_length = load<std::uint32_t>(message, request_at::name_length);
    const auto after_length = load<std::uint32_t>(message, request_at::after_length);
    if (name_length > name_bytes_max || after_length > component_bytes_max
        || message.size() != request_header_bytes + name_length + after_length)
        return errc::malformed_message;
    if ((flags & ~flag_checksum) != 0
        || !is_zero(message.subspan(request_at::reserved, request_header_bytes - request_at::reserved)))
        return errc::malformed_message;

    request value;
    value.op = static_cast<operation>(load<std::uint8_t>(message, at::operation_code));
    value.checksum = (flags & flag_checksum) != 0;
    value.id = load<std::uint32_t>(message, at::id);
    value.handle = load<std::uint32_t>(message, request_at::handle);
    value.window.rkey = load<std::uint32_t>(message, request_at::window_rkey);
    value.window.address = load<std::uint64_t>(message, request_at::window_address);
    value.window.length = load<std::uint64_t>(message, request_at::window_length);
    value.offset = load<std::uint64_t>(message, request_at::offset);
    value.permissions = load<std::uint32_t>(message, at::permissions);
    value.crc32c = load<std::uint32_t>(message, at::crc32c);
    value.promise = static_cast<durability>(load<std::uint8_t>(message, request_at::promise));
    value.name = text(message.subspan(request_header_bytes, name_length));
    value.after = text(message.subspan(request_header_bytes + name_length));
    if (!is_valid(value))
        return errc::malformed_message;
    return value;
}

std::size_t encode(const response& value, std::span<std::byte> message) noexcept
{
    if (!is_valid(value) || message.size() < response_bytes)
        return 0;
    std::fill_n(message.begin(), response_bytes, std::byte{0});
    const auto flags = (value.checksum ? flag_checksum : 0U) | (value.more ? flag_more : 0U);
    store_preamble(message, value.op, static_cast<std::uint8_t>(flags), value.id);
    store(message, response_at::status, static_cast<std::uint32_t>(value.status.value()));
    store(message, response_at::handle, value.handle);
    store(message, response_at::bytes, value.bytes);
    store(message, response_at::size, value.info.size);
    store(message, response_at::modified, static_cast<std::uint64_t>(value.info.modified_ns));
    store(message, at::permissions, value.info.permissions);
    store(message, at::crc32c, value.crc32c);
    store(message, response_at::kind, static_cast<std::uint8_t>(value.info.kind));
    return response_bytes;
}

result<response> decode_response(std::span<const std::byte> message) noexcept
{
    if (message.size() != response_bytes)
        return errc::malformed_message;
    if (const auto failure = check_preamble(message))
        return failure;
    const auto flags = load<std::uint8_t>(message, at::flags);
    if ((flags & ~(flag_checksum | flag_more)) != 0 || !is_zero(message.subspan(response_at::reserved)))
        return errc::malformed_message;
    const auto status = load<std::uint32_t>(message, response_at::status);

    response value;
    value.op = static_cast<operation>(load<std::uint8_t>(message, at::operation_code));
    value.checksum = (flags & flag_checksum) != 0;
    value.more = (flags & flag_more) != 0;
    value.id = load<std::uint32_t>(message, at::id);
    if (status != 0)
        value.status = static_cast<errc>(status); // is_valid knows the numbers there are
    value.handle = load<std::uint32_t>(message, response_at::handle);
    value.bytes = load<std::uint64_t>(message, response_at::bytes);
    value.info.size = load<std::uint64_t>(message, response_at::size);
    value.info.modified_ns = static_cast<std::int64_t>(load<std::uint64_t>(message, response_at::modified));
    value.info.permissions = load<std::uint32_t>(message, at::permissions);
    value.crc32c = load<std::uint32_t>(message, at::crc32c);
    value.info.kind = static_cast<object_kind>(load<std::uint8_t>(message, response_at::kind));
    if (!is_valid(value))
        return errc::malformed_message;
    return value;
}

error_code check_answer(const request& asked, const response& answer) noexcept
{
    if (answer.op != asked.op || answer.id != asked.id)
        return errc::malformed_message;
    if (answer.status || !writes_to_window(asked.op))
        return {};
    if (answer.bytes > asked.window.length || answer.checksum != asked.checksum || (answer.more && answer.bytes == 0))
        return errc::malformed_message;
    return {};
}

bool is_wire_status(errc code) noexcept
{
    switch (code) {
    case errc::invalid_argument:
    case errc::out_of_range:
    case errc::not_supported:
    case errc::wrong_state:
    case errc::cancelled:
    case errc::timed_out:
    case errc::integrity_error:
    case errc::not_found:
    case errc::already_exists:
    case errc::permission_denied:
    case errc::no_space:
    case errc::is_directory:
    case errc::not_directory:
    case errc::outside_root:
    case errc::name_invalid:
    case errc::remote_io_error:
    case errc::changed_underneath:
    case errc::overloaded:
    case errc::message_too_large: return true;
    default: return false;
    }
}

errc wire_status(const error_code& failure) noexcept
{
    if (failure.category() != penstock_category())
        return errc::remote_io_error;
    const auto code = static_cast<errc>(failure.value());
    if (is_wire_status(code))
        return code;
    switch (code) {
    case errc::no_memory:
    case errc::pool_exhausted:
    case errc::registration_refused:
    case errc::send_queue_full: return errc::overloaded;
    default: return errc::remote_io_error;
    }
}

} // namespace penstock::storage
