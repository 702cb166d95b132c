#include <penstock/connection/landing.hpp>

#include <cassert>
#include <cstring>
#include <numeric>

namespace penstock::connection {

result<std::uint16_t> landing_words::acquire()
{
    if (!memory_) {
        auto block = pool_.acquire(words_max * word_bytes);
        if (!block) {
            return block.error();
        }
        memory_ = std::move(*block);
        std::iota(free_.begin(), free_.end(), std::uint16_t{0});
    }
    if (in_use_ == words_max) {
        return make_error_code(errc::send_queue_full);
    }
    ++in_use_;
    return free_[words_max - in_use_];
}

void landing_words::release(std::uint16_t word) noexcept
{
    assert(in_use_ != 0);
    free_[words_max - in_use_] = word;
    --in_use_;
}

std::uint64_t landing_words::value(std::uint16_t word) const noexcept
{
    std::uint64_t landed = 0;
    std::memcpy(&landed, memory_.data() + word * word_bytes, word_bytes);
    return landed;
}

fabric::local_segment landing_words::segment(std::uint16_t word, std::size_t device_index) const noexcept
{
    return memory_.slice(word * word_bytes, word_bytes).segment(device_index);
}

} // namespace penstock::connection
