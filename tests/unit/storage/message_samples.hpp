#pragma once

// One value of every message with the bytes that stand for it, written down from docs/storage.md and not from the encoder.

#include "storage/messages.hpp"

#include <cstddef>
#include <string_view>
#include <vector>

namespace penstock::storage::samples {

template <class Value>
struct sample {
    Value value;
    std::string_view hex;
};

inline constexpr std::uint32_t id = 0x01020304;
inline constexpr std::uint32_t crc = 0xe3069283;
inline constexpr std::int64_t modified = 1'700'000'000'123'456'789;
inline constexpr remote_window window{0x2122232425262728, 0x10000, 0x11121314};

inline std::vector<std::byte> from_hex(std::string_view hex)
{
    const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
    std::vector<std::byte> bytes;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 3)
        bytes.push_back(static_cast<std::byte>(digit(hex[i]) * 16 + digit(hex[i + 1])));
    return bytes;
}

inline std::vector<sample<request>> requests()
{
    return {
        {request{.op = operation::open, .checksum = true, .id = id, .window = window, .name = "a/b"},
            "50 01 01 01 04 03 02 01 00 00 00 00 14 13 12 11 "
            "28 27 26 25 24 23 22 21 00 00 01 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "03 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "61 2f 62 "},
        {request{.op = operation::open, .id = id, .name = "x"},
            "50 01 01 00 04 03 02 01 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "78 "},
        {request{.op = operation::read,
             .checksum = true,
             .id = id,
             .handle = 7,
             .window = window,
             .offset = 0x3132333435363738},
            "50 01 02 01 04 03 02 01 07 00 00 00 14 13 12 11 "
            "28 27 26 25 24 23 22 21 00 00 01 00 00 00 00 00 "
            "38 37 36 35 34 33 32 31 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "},
        {request{.op = operation::close, .id = id, .handle = 7},
            "50 01 03 00 04 03 02 01 07 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "},
        {request{.op = operation::put,
             .checksum = true,
             .id = id,
             .window = window,
             .permissions = 0644,
             .promise = durability::persisted,
             .crc32c = crc,
             .name = "p"},
            "50 01 04 01 04 03 02 01 00 00 00 00 14 13 12 11 "
            "28 27 26 25 24 23 22 21 00 00 01 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 a4 01 00 00 83 92 06 e3 "
            "01 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 "
            "70 "},
        {request{.op = operation::create, .id = id, .offset = 0x123456789, .permissions = 0600, .name = "c"},
            "50 01 05 00 04 03 02 01 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "89 67 45 23 01 00 00 00 80 01 00 00 00 00 00 00 "
            "01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "63 "},
        {request{.op = operation::write,
             .checksum = true,
             .id = id,
             .handle = 7,
             .window = window,
             .offset = 16,
             .crc32c = crc},
            "50 01 06 01 04 03 02 01 07 00 00 00 14 13 12 11 "
            "28 27 26 25 24 23 22 21 00 00 01 00 00 00 00 00 "
            "10 00 00 00 00 00 00 00 00 00 00 00 83 92 06 e3 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "},
        {request{.op = operation::commit, .id = id, .handle = 7, .promise = durability::persisted},
            "50 01 07 00 04 03 02 01 07 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 "},
        {request{.op = operation::make_directory, .id = id, .name = "d/e"},
            "50 01 08 00 04 03 02 01 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "03 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "64 2f 65 "},
        {request{.op = operation::list, .checksum = true, .id = id, .window = window, .name = "d", .after = "zz"},
            "50 01 09 01 04 03 02 01 00 00 00 00 14 13 12 11 "
            "28 27 26 25 24 23 22 21 00 00 01 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "01 00 00 00 02 00 00 00 00 00 00 00 00 00 00 00 "
            "64 7a 7a "},
        {request{.op = operation::stat, .id = id},
            "50 01 0a 00 04 03 02 01 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "},
    };
}

inline std::vector<sample<response>> responses()
{
    return {
        {response{.op = operation::open,
             .checksum = true,
             .id = id,
             .handle = 9,
             .bytes = 0x10000,
             .crc32c = crc,
             .info = {object_kind::file, 0x123456789, 0644, modified}},
            "50 01 01 01 04 03 02 01 00 00 00 00 09 00 00 00 "
            "00 00 01 00 00 00 00 00 89 67 45 23 01 00 00 00 "
            "15 cd 85 3d fe 9c 97 17 a4 01 00 00 83 92 06 e3 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "},
        {response{.op = operation::open, .id = id, .bytes = 5, .info = {object_kind::file, 5, 0, -1}},
            "50 01 01 00 04 03 02 01 00 00 00 00 00 00 00 00 "
            "05 00 00 00 00 00 00 00 05 00 00 00 00 00 00 00 "
            "ff ff ff ff ff ff ff ff 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "},
        {response{.op = operation::read, .checksum = true, .id = id, .bytes = 0x8000, .crc32c = crc},
            "50 01 02 01 04 03 02 01 00 00 00 00 00 00 00 00 "
            "00 80 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 83 92 06 e3 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "},
        {response{.op = operation::close, .id = id},
            "50 01 03 00 04 03 02 01 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "},
        {response{.op = operation::put, .id = id},
            "50 01 04 00 04 03 02 01 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "},
        {response{.op = operation::create, .id = id, .handle = 9},
            "50 01 05 00 04 03 02 01 00 00 00 00 09 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "},
        {response{.op = operation::write, .id = id},
            "50 01 06 00 04 03 02 01 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "},
        {response{.op = operation::commit, .id = id},
            "50 01 07 00 04 03 02 01 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "},
        {response{.op = operation::make_directory, .id = id},
            "50 01 08 00 04 03 02 01 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "},
        {response{.op = operation::list, .checksum = true, .more = true, .id = id, .bytes = 100, .crc32c = 1},
            "50 01 09 03 04 03 02 01 00 00 00 00 00 00 00 00 "
            "64 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "},
        {response{.op = operation::stat, .id = id, .info = {object_kind::directory, 0, 0755, modified}},
            "50 01 0a 00 04 03 02 01 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "15 cd 85 3d fe 9c 97 17 ed 01 00 00 00 00 00 00 "
            "01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "},
        {response{.op = operation::stat, .id = id, .status = errc::not_found},
            "50 01 0a 00 04 03 02 01 30 01 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
            "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "},
    };
}

inline std::vector<list_entry> entries()
{
    return {
        {"a", {object_kind::file, 0x123456789, 0644, modified}}, {"b\xc3\xa9", {object_kind::directory, 0, 0755, -1}}};
}

inline constexpr std::string_view entries_hex = "01 00 00 00 a4 01 00 00 89 67 45 23 01 00 00 00 "
                                                "15 cd 85 3d fe 9c 97 17 61 03 00 01 00 ed 01 00 "
                                                "00 00 00 00 00 00 00 00 00 ff ff ff ff ff ff ff "
                                                "ff 62 c3 a9 ";

} // namespace penstock::storage::samples
