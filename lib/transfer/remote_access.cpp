#include <penstock/transfer/remote_access.hpp>

namespace penstock::transfer::detail {

error_code single_request::check() const noexcept
{
    const bool atomic = operation != fabric::opcode::write_with_immediate;
    if (!has_access(remote.rights(), atomic ? fabric::access::remote_atomic : fabric::access::remote_write)) {
        return errc::invalid_argument;
    }
    if (!atomic && (local.region_bytes() != local.size() || local.size() > memory::local_buffer::segment_bytes_max)) {
        return errc::message_too_long; // more than one segment can name
    }
    const std::uint64_t bytes = atomic ? sizeof(std::uint64_t) : local.size();
    return bytes > remote.length() ? make_error_code(errc::out_of_range) : error_code{};
}

result<traffic::choice> single_request::claim(traffic& work) const noexcept
{
    if (const auto wrong = check(); wrong.failed()) {
        return wrong;
    }
    const auto chosen = work.choose(remote);
    if (chosen.on == nullptr) {
        return work.why_no_lane();
    }
    if (chosen.on->send_room() == 0) {
        return make_error_code(errc::send_queue_full);
    }
    if (const auto refused = work.begin_use(remote); refused.failed()) {
        return refused;
    }
    return chosen;
}

} // namespace penstock::transfer::detail
