#include <penstock/transfer/exposure.hpp>

#include "transfer/exposure_operation.hpp"

#include <cassert>

namespace penstock::transfer {

exposure& exposure::operator=(exposure&& other) noexcept
{
    operation_.swap(other.operation_);
    return *this;
}

exposure::~exposure()
{
    if (operation_) {
        operation_->abandon();
    }
}

const remote_buffer& exposure::remote() const noexcept
{
    static constexpr remote_buffer nothing;
    return operation_ ? operation_->remote() : nothing;
}

void exposure::start_revoke(const revoke_options* options, revoke_handler handler)
{
    assert(operation_ && "revoking an exposure that is none");
    operation_->revoke(options, std::move(handler));
}

memory::buffer exposure::take_buffer() noexcept
{
    return operation_ ? operation_->take_buffer() : memory::buffer{};
}

void start_expose(connection::connection& over, memory::local_buffer what, memory::buffer owned, fabric::access rights,
    const expose_options& options, expose_handler handler)
{
    std::make_shared<exposure_operation>(over, what, std::move(owned), rights, options)->start(std::move(handler));
}

} // namespace penstock::transfer
