#pragma once

// What a store holds: named byte sequences and the directories they are in.
//
// A name is relative to the served root, its components separated by '/', UTF-8 or any other bytes but NUL; no
// component is empty, "." or "..". "" names the root.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::storage {

/// Longest name, and longest component of one, in bytes.
inline constexpr std::size_t name_bytes_max = 4'000;
inline constexpr std::size_t component_bytes_max = 255;

enum class object_kind : std::uint8_t { file, directory };

struct object_info {
    object_kind kind = object_kind::file;
    std::uint64_t size = 0;        ///< bytes; 0 for a directory
    std::uint32_t permissions = 0; ///< the nine rwx bits
    std::int64_t modified_ns = 0;  ///< since the Unix epoch

    friend bool operator==(const object_info&, const object_info&) = default;
};

/// What an acknowledged put means.
enum class durability : std::uint8_t {
    received,  ///< visible to every reader; survives the server's death, not the machine's
    persisted, ///< durable: survives power loss (data and directory were synced)
};

struct list_entry {
    std::string name; ///< one component
    object_info info;

    friend bool operator==(const list_entry&, const list_entry&) = default;
};

struct list_page {
    std::vector<list_entry> entries; ///< in byte order of their names
    bool more = false;               ///< ask again, after the last name
};

/// True for a name as above, "" among them, within the limits, and not reserved (its first component does not begin with
/// ".penstock").
bool is_valid_name(std::string_view name) noexcept;

/// True for one component of a name: what a list_entry carries.
bool is_valid_entry_name(std::string_view name) noexcept;

} // namespace penstock::storage
