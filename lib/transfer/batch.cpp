#include <penstock/transfer/batch.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace penstock::transfer {
namespace {

constexpr std::size_t requests_max = 512; // built at a time: behind one doorbell

} // namespace

batch::batch(std::size_t extents_max)
    : extents_max_(extents_max)
    , requests_(std::min(extents_max, requests_max))
    , pieces_(requests_.size())
{
    extents_.reserve(extents_max);
}

batch::~batch()
{
    if (in_flight()) {
        (void)std::fputs("penstock: a batch was destroyed in flight\n", stderr);
        std::abort();
    }
}

error_code batch::read(const memory::local_buffer& into, const remote_buffer& from)
{
    return add(fabric::opcode::read, into, from);
}

error_code batch::write(const memory::local_buffer& from, const remote_buffer& to)
{
    return add(fabric::opcode::write, from, to);
}

error_code batch::add(fabric::opcode operation, const memory::local_buffer& local, const remote_buffer& remote)
{
    if (in_flight()) {
        return errc::wrong_state;
    }
    if (extents_.size() == extents_max_) {
        return errc::out_of_range;
    }
    extents_.push_back({operation, local, remote, {}});
    return {};
}

error_code batch::clear()
{
    if (in_flight()) {
        return errc::wrong_state;
    }
    extents_.clear();
    return {};
}

void batch::begin(connection::connection& over, flow::handler_type handler, const operation_options& options)
{
    flow_.begin(traffic::of(over), extents_, {requests_, pieces_}, std::move(handler), options);
}

} // namespace penstock::transfer
