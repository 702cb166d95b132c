#pragma once

// The capsules of the storage protocol, as bytes: docs/storage.md is their specification.
//
// Pure: no I/O, no allocation but the entries of a listing. What is decoded here came from a peer, so a decoder accepts
// exactly what an encoder can make (one value, one encoding), and never reads outside its span.

#include <penstock/core/error.hpp>
#include <penstock/storage/object.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace penstock::storage {

inline constexpr std::uint8_t message_magic = 0x50; ///< 'P'
inline constexpr std::uint8_t protocol_version = 1;

inline constexpr std::size_t request_header_bytes = 64;
inline constexpr std::size_t request_bytes_max = request_header_bytes + name_bytes_max + component_bytes_max;
inline constexpr std::size_t response_bytes = 64;
inline constexpr std::size_t message_bytes_max = request_bytes_max;

inline constexpr std::size_t entry_header_bytes = 24;
inline constexpr std::size_t entry_bytes_max = entry_header_bytes + component_bytes_max;

/// Sizes and offsets in an object end here, as in the file system.
inline constexpr std::uint64_t object_bytes_max = INT64_MAX;
inline constexpr std::uint32_t permissions_mask = 0777;

enum class operation : std::uint8_t {
    open = 1,
    read,
    close,
    put,
    create,
    write,
    commit,
    make_directory,
    list,
    stat,
};

/// A memory window of the client's, as its peer names it. All zero: none.
struct remote_window {
    std::uint64_t address = 0;
    std::uint64_t length = 0; ///< bytes
    std::uint32_t rkey = 0;

    friend bool operator==(const remote_window&, const remote_window&) = default;
};

/// What a client asks. A field that its operation does not use is zero; docs/storage.md has the table.
struct request {
    operation op = operation::stat;
    bool checksum = false; ///< put, write: `crc32c` is that of the window's bytes; open, read, list: answer with one
    std::uint32_t id = 0;
    std::uint32_t handle = 0;
    remote_window window{};
    std::uint64_t offset = 0; ///< create: the object's size
    std::uint32_t permissions = 0;
    durability promise = durability::received;
    std::uint32_t crc32c = 0;
    std::string_view name{};  ///< decoded: in the message. Only its length was checked: is_valid_name
    std::string_view after{}; ///< of a list; likewise

    friend bool operator==(const request&, const request&) = default;
};

/// What a server answers. With a status all fields but `op`, `id` and it are zero.
struct response {
    operation op = operation::stat;
    bool checksum = false; ///< `crc32c` is that of the bytes moved into the window
    bool more = false;     ///< list: not the last page
    std::uint32_t id = 0;
    error_code status{}; ///< success, or an errc for which is_wire_status holds
    std::uint32_t handle = 0;
    std::uint64_t bytes = 0; ///< moved into the window, from its start
    std::uint32_t crc32c = 0;
    object_info info{}; ///< open, stat

    friend bool operator==(const response&, const response&) = default;
};

/// The operations whose request moves data, and which way.
constexpr bool reads_from_window(operation op) noexcept
{
    return op == operation::put || op == operation::write;
}
constexpr bool writes_to_window(operation op) noexcept
{
    return op == operation::open || op == operation::read || op == operation::list;
}

/// Bytes written; 0 when `message` is too short or the value breaks a rule of the protocol.
std::size_t encode(const request& value, std::span<std::byte> message) noexcept;
std::size_t encode(const response& value, std::span<std::byte> message) noexcept;

/// `message` is the whole message and nothing more.
/// Errors: bad_magic, unsupported_version, malformed_message.
result<request> decode_request(std::span<const std::byte> message) noexcept;
result<response> decode_response(std::span<const std::byte> message) noexcept;

/// Whether `answer` can be the answer to `asked`: malformed_message for another operation or id, more bytes than the window or the
/// object has, a checksum that was not asked for or is missing, a page that is empty but not the last.
/// Success when `answer.status` is an error that the protocol allows.
error_code check_answer(const request& asked, const response& answer) noexcept;

/// The codes that may travel as a status.
bool is_wire_status(errc code) noexcept;

/// What a server answers for `failure`: the code itself where the protocol has it, `overloaded` for what ran out here, else
/// remote_io_error.
errc wire_status(const error_code& failure) noexcept;

/// Bytes of one entry in a window.
inline std::size_t encoded_bytes(const list_entry& entry) noexcept
{
    return entry_header_bytes + entry.name.size();
}

/// Bytes written, all entries or none: 0 when they do not fit, or one of them is invalid, or they are not in order.
std::size_t encode_entries(std::span<const list_entry> entries, std::span<std::byte> window) noexcept;

/// Every name is one valid component and greater than the one before, so the names are fit for local files and a listing ends.
/// Errors: malformed_message.
result<std::vector<list_entry>> decode_entries(std::span<const std::byte> window);

} // namespace penstock::storage
