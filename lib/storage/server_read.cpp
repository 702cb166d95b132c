// Reading an open object: from cached blocks without a copy, else from its file into a slice.

#include "storage/server_session.hpp"

#include <penstock/connection/acceptor.hpp>
#include <penstock/core/checksum.hpp>

#include <algorithm>

namespace penstock::storage {
namespace {

struct extent {
    std::uint64_t offset;
    std::size_t length; ///< what there is of the object; 0 at its end and beyond
};

extent extent_of(const job& one)
{
    const std::uint64_t size = one.object->reading.identity.size;
    const std::uint64_t left = one.asked.offset < size ? size - one.asked.offset : 0;
    return {one.asked.offset, static_cast<std::size_t>(std::min(left, one.asked.window.length))};
}

// A block of the cache holds exactly this extent.
bool is_whole_block(const job& one, const extent& wanted, std::size_t block_bytes)
{
    return wanted.length != 0 && wanted.offset % block_bytes == 0
        && (wanted.length == block_bytes || wanted.offset + wanted.length == one.object->reading.identity.size);
}

// That of a whole block is kept: it is the one that is asked for again.
std::uint32_t checksum_of(const cached_block& block, std::size_t offset, std::size_t length)
{
    const bool whole = offset == 0 && length == block.bytes;
    if (whole && block.crc32c) {
        return *block.crc32c;
    }
    const auto crc = crc32c(block.buffer.bytes().subspan(offset, length));
    if (whole) {
        block.crc32c = crc;
    }
    return crc;
}

void add_data(job& one, const cached_block& block, std::size_t offset, std::size_t length)
{
    const auto device = one.from->link().data().device().index;
    one.data[one.data_segments++] = block.buffer.slice(offset, length).segment(device);
    if (one.asked.checksum) {
        const auto crc = checksum_of(block, offset, length);
        one.answer.crc32c = one.data_segments == 1 ? crc : crc32c_combine(one.answer.crc32c, crc, length);
    }
}

// An extent touches at most two blocks, since it is no longer than one.
bool serve_from_cache(job& one, const extent& wanted)
{
    auto& of = *one.from->home;
    const std::size_t block_bytes = of.owner.pool().slice_bytes();
    const std::uint64_t first = wanted.offset / block_bytes;
    const std::uint64_t last = (wanted.offset + wanted.length - 1) / block_bytes;
    for (std::uint64_t index = first; index <= last; ++index) {
        one.blocks[index - first] = of.cache.find({one.object->reading.identity, index});
        if (!one.blocks[index - first]) {
            one.blocks = {};
            return false;
        }
    }
    std::size_t offset = static_cast<std::size_t>(wanted.offset % block_bytes);
    std::size_t left = wanted.length;
    for (std::uint64_t index = first; index <= last; ++index) {
        const auto& block = *one.blocks[index - first];
        if (offset >= block.bytes) {
            one.blocks = {};
            one.data_segments = 0;
            return false;
        }
        const std::size_t piece = std::min(left, block.bytes - offset);
        add_data(one, block, offset, piece);
        left -= piece;
        offset = 0;
    }
    one.answer.bytes = wanted.length;
    one.answer.checksum = one.asked.checksum;
    return true;
}

void check_read(job& one, std::size_t got, const extent& wanted)
{
    if (got != wanted.length || changed(one.object->reading.identity, one.object->reading.fd.get())) {
        one.fail(errc::changed_underneath);
    }
}

void read_blocking(job& one)
{
    const auto wanted = extent_of(one);
    const auto got = read_at(one.object->reading.fd.get(), wanted.offset, one.slice.bytes().first(wanted.length));
    if (!got) {
        return one.fail(got.error());
    }
    check_read(one, *got, wanted);
}

// The bytes are in the slice. They are answered as a block, which the cache keeps if it is a whole one.
void finish_read(job& one)
{
    if (one.status.failed()) {
        return answer(one);
    }
    auto& of = *one.from->home;
    const auto wanted = extent_of(one);
    const std::size_t block_bytes = of.owner.pool().slice_bytes();
    one.answer.bytes = wanted.length;
    one.answer.checksum = one.asked.checksum;
    auto block = std::make_shared<cached_block>();
    block->buffer = std::move(one.slice);
    block->bytes = wanted.length;
    add_data(one, *block, 0, wanted.length);
    one.blocks[0] = block;
    if (of.cache.enabled() && is_whole_block(one, wanted, block_bytes)) {
        of.cache.insert({one.object->reading.identity, wanted.offset / block_bytes}, std::move(block));
    }
    answer(one);
}

void read_into_slice(job& one)
{
    const auto wanted = extent_of(one);
    const auto got
        = try_read_cached(one.object->reading.fd.get(), wanted.offset, one.slice.bytes().first(wanted.length));
    if (got && got->complete) {
        check_read(one, got->bytes, wanted);
        finish_read(one);
    } else {
        one.from->home->blocking(one.shared_from_this(), read_blocking, finish_read);
    }
}

} // namespace

void serve_read(const std::shared_ptr<job>& one)
{
    auto& of = *one->from->home;
    const auto wanted = extent_of(*one);
    if (wanted.length == 0) {
        one->answer.checksum = one->asked.checksum;
        return answer(*one);
    }
    if (of.cache.enabled()) {
        if (changed(one->object->reading.identity, one->object->reading.fd.get())) {
            one->fail(errc::changed_underneath);
            return answer(*one);
        }
        if (serve_from_cache(*one, wanted)) {
            ++of.counters.cache_hits;
            return answer(*one);
        }
        ++of.counters.cache_misses;
    }
    of.with_slice(one, read_into_slice);
}

} // namespace penstock::storage
