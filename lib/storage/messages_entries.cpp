#include "storage/messages.hpp"

#include "storage/messages_fields.hpp"

#include <cstring>

namespace penstock::storage {
namespace {

namespace at {
constexpr std::size_t name_length = 0;
constexpr std::size_t kind = 2;
constexpr std::size_t reserved = 3;
constexpr std::size_t permissions = 4;
constexpr std::size_t size = 8;
constexpr std::size_t modified = 16;
} // namespace at

void store_entry(const list_entry& entry, std::span<std::byte> bytes) noexcept
{
    store(bytes, at::name_length, static_cast<std::uint16_t>(entry.name.size()));
    store(bytes, at::kind, static_cast<std::uint8_t>(entry.info.kind));
    store(bytes, at::reserved, std::uint8_t{0});
    store(bytes, at::permissions, entry.info.permissions);
    store(bytes, at::size, entry.info.size);
    store(bytes, at::modified, static_cast<std::uint64_t>(entry.info.modified_ns));
    std::memcpy(bytes.subspan(entry_header_bytes).data(), entry.name.data(), entry.name.size());
}

// "" is below every valid name, so it is the bound of the first.
bool is_valid_after(std::string_view before, const list_entry& entry) noexcept
{
    return is_valid_entry_name(entry.name) && before < entry.name && is_valid(entry.info);
}

} // namespace

std::size_t encode_entries(std::span<const list_entry> entries, std::span<std::byte> window) noexcept
{
    std::size_t used = 0;
    std::string_view before;
    for (const auto& entry : entries) {
        if (!is_valid_after(before, entry) || window.size() - used < encoded_bytes(entry))
            return 0;
        store_entry(entry, window.subspan(used));
        used += encoded_bytes(entry);
        before = entry.name;
    }
    return used;
}

result<std::vector<list_entry>> decode_entries(std::span<const std::byte> window)
{
    std::vector<list_entry> entries;
    std::string_view before;
    while (!window.empty()) {
        if (window.size() < entry_header_bytes || load<std::uint8_t>(window, at::reserved) != 0)
            return errc::malformed_message;
        const std::size_t name_length = load<std::uint16_t>(window, at::name_length);
        if (window.size() - entry_header_bytes < name_length)
            return errc::malformed_message;
        list_entry entry;
        entry.info.kind = static_cast<object_kind>(load<std::uint8_t>(window, at::kind));
        entry.info.permissions = load<std::uint32_t>(window, at::permissions);
        entry.info.size = load<std::uint64_t>(window, at::size);
        entry.info.modified_ns = static_cast<std::int64_t>(load<std::uint64_t>(window, at::modified));
        const auto name = window.subspan(entry_header_bytes, name_length);
        entry.name.assign(reinterpret_cast<const char*>(name.data()), name.size());
        if (!is_valid_after(before, entry))
            return errc::malformed_message;
        window = window.subspan(entry_header_bytes + name_length);
        // Not a view of entries.back().name: a short name moves with the vector.
        before = {reinterpret_cast<const char*>(name.data()), name.size()};
        entries.push_back(std::move(entry));
    }
    return entries;
}

} // namespace penstock::storage
