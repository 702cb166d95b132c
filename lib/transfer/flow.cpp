#include <penstock/transfer/flow.hpp>

#include <penstock/transfer/traffic.hpp>

#include <algorithm>
#include <cassert>
#include <utility>

namespace penstock::transfer {
namespace {

constexpr std::size_t few_requests = 16;

fabric::access needed_for(fabric::opcode operation) noexcept
{
    return operation == fabric::opcode::read ? fabric::access::remote_read : fabric::access::remote_write;
}

/// What one request can carry from there on: not beyond the limit, nor the region that its first byte lies in.
memory::local_buffer piece_at(const extent& one, std::uint64_t offset, std::uint64_t limit)
{
    const auto from = static_cast<std::size_t>(offset);
    const auto rest = one.local.slice(from, one.local.size() - from);
    return rest.slice(0, static_cast<std::size_t>(std::min<std::uint64_t>(rest.region_bytes(), limit)));
}

} // namespace

error_code extent::check() const noexcept
{
    if (!has_access(remote.rights(), needed_for(operation))) {
        return errc::invalid_argument;
    }
    return local.size() > remote.length() ? make_error_code(errc::out_of_range) : error_code{};
}

/// Consecutive pieces of consecutive extents, on one lane.
struct flow::group {
    connection::lane* on = nullptr;
    std::size_t first = 0;          // extent
    std::uint64_t first_offset = 0; // in it
    std::uint64_t piece_limit = 0;
    std::uint32_t requests = 0;
};

/// Requests end in order: what has failed is the rest of the group from the first failure on.
struct flow::group_operation {
    boost::intrusive_ptr<traffic> keeps; // and it the flow
    flow* of;
    group posted;
    std::uint32_t failures = 0;
    error_code error{};

    void failed(const fabric::work_completion& completion) noexcept
    {
        if (failures++ == 0) {
            error = completion.status;
        }
    }

    void complete(const fabric::work_completion& completion)
    {
        if (completion.status != completion_status::success) {
            failed(completion);
        }
        of->record(posted, failures, error);
        posted.on->ended(posted.requests);
        of->group_ended();
    }
};

flow::flow()
    : timer_([this] { due(); })
{}

void flow::begin(traffic& over, std::span<extent> extents, const request_room& room, handler_type handler,
    const operation_options& options)
{
    assert(!active());
    auto& poller = over.owner().poller();
    over_ = &over;
    extents_ = extents;
    room_ = room;
    next_ = 0;
    offset_ = 0;
    stripe_bytes_ = std::max<std::uint64_t>(options.stripe_bytes, 1);
    revoke_grace_ = detail::whole_milliseconds(options.revoke_grace);
    given_up_ = false;
    error_ = {};
    handler_.emplace(std::move(handler));
    work_.emplace(*handler_, over.owner().executor());
    over.add(*this);
    poller.hold(); // until it has ended: it may wait for a long time with nothing in flight
    left_ = 0;
    for (auto& each : extents_) {
        each.error = each.check();
        if (each.error.failed() && !error_.failed()) {
            error_ = each.error;
        }
        left_ += requests_of(each);
    }
    if (options.deadline != time_point_never) {
        if (options.deadline <= poller.time().now()) {
            stop(errc::timed_out);
            return;
        }
        poller.timers().start(timer_, options.deadline);
    }
    if (const auto error = detail::on_terminal_cancellation(*handler_, *this); error.failed()) {
        stop(error);
        return;
    }
    if (!over.somebody_waits() && post_more()) {
        settle();
    } else if (const auto full = over.wait_for_room(*this); full.failed()) {
        stop(full);
    }
}

bool flow::post_more() noexcept
{
    // A fair share for each lane, so that all get their part of the work.
    const auto lanes = std::max<std::uint64_t>(over_->live_lanes(), 1);
    const auto share = (left_ + lanes - 1) / lanes;
    while (next_ != extents_.size()) {
        const extent& one = extents_[next_];
        if (one.error.failed()) {
            fail_extent(one.error);
            continue;
        }
        const auto chosen = over_->choose(one.remote);
        if (chosen.on == nullptr) {
            fail_extent(over_->why_no_lane());
        } else if (chosen.on->send_room() == 0) {
            return false;
        } else {
            post_group(*chosen.on, chosen.index, share);
        }
    }
    return true;
}

void flow::fail_extent(error_code why) noexcept
{
    extent& one = extents_[next_];
    if (!one.error.failed()) {
        one.error = why;
    }
    if (!error_.failed()) {
        error_ = why;
    }
    ++next_;
    offset_ = 0;
}

void flow::post_group(connection::lane& on, std::size_t index, std::uint64_t share) noexcept
{
    std::array<fabric::send_request, few_requests> requests;
    std::array<fabric::local_segment, few_requests> pieces;
    request_room room = room_;
    if (room.requests.empty()) {
        room = {requests, pieces};
    }
    const auto most
        = std::min<std::uint64_t>({std::max<std::uint64_t>(share, 1), on.send_room(), room.requests.size()});
    room.requests = room.requests.first(static_cast<std::size_t>(most));

    group made;
    made.on = &on;
    made.first = next_;
    made.first_offset = offset_;
    made.piece_limit = piece_limit(on);
    made.requests = fill(made, index, on.device().index, room);
    if (made.requests == 0) {
        return;
    }
    left_ -= std::min<std::uint64_t>(left_, made.requests);
    if (const auto error = post(made, room.requests.first(made.requests)); error.failed()) {
        take_back(made, error);
    }
}

/// Builds pieces from where the flow stands, and moves it on; stops before an extent that cannot go by this lane.
std::uint32_t flow::fill(group& made, std::size_t lane_index, std::size_t device, const request_room& room) noexcept
{
    std::uint32_t count = 0;
    std::uint32_t rkey = 0;
    bool begun = false;
    while (count != room.requests.size() && next_ != extents_.size() && !extents_[next_].error.failed()) {
        const extent& one = extents_[next_];
        if (!begun) {
            const auto key = one.remote.key_for(lane_index);
            if (!key) {
                break;
            }
            if (const auto refused = over_->begin_use(one.remote); refused.failed()) {
                fail_extent(refused);
                break;
            }
            rkey = *key;
            begun = true;
        }
        const auto piece = piece_at(one, offset_, made.piece_limit);
        room.pieces[count] = piece.segment(device);
        auto& request = room.requests[count];
        request = {};
        request.operation = one.operation;
        request.local = {&room.pieces[count], 1};
        request.remote = {one.remote.address() + offset_, rkey};
        ++count;
        offset_ += piece.size();
        if (offset_ == one.local.size()) {
            ++next_;
            offset_ = 0;
            begun = false;
        }
    }
    return count;
}

error_code flow::post(group& made, std::span<fabric::send_request> requests) noexcept
{
    auto& poller = over_->owner().poller();
    const auto id = poller.start<group_operation>(boost::intrusive_ptr<traffic>(over_), this, made);
    if (!id) {
        return id.error();
    }
    if (const auto error = detail::post_chain(*made.on, requests, *id); error.failed()) {
        poller.release(*id);
        return error;
    }
    ++groups_;
    auto& share = share_of(*made.on);
    share.on = made.on;
    ++share.groups;
    return {};
}

/// Nothing of it was posted: its first extent fails, and the others are tried again.
void flow::take_back(const group& made, error_code why) noexcept
{
    each_piece(made, [this](std::uint32_t, extent& one, bool first) {
        if (first) {
            over_->end_use(one.remote.id());
        }
    });
    next_ = made.first;
    offset_ = made.first_offset;
    fail_extent(why);
}

/// Calls function(number of the request, its extent, whether it is the first of this extent in the group).
template <class Function>
void flow::each_piece(const group& of, Function function) noexcept
{
    std::size_t which = of.first;
    std::uint64_t offset = of.first_offset;
    bool first = true;
    for (std::uint32_t count = 0; count != of.requests; ++count) {
        extent& one = extents_[which];
        function(count, one, first);
        offset += piece_at(one, offset, of.piece_limit).size();
        first = offset == one.local.size();
        if (first) {
            ++which;
            offset = 0;
        }
    }
}

std::uint64_t flow::piece_limit(connection::lane& on) const noexcept
{
    const auto limit = std::min(on.device().device->limits().message_bytes_max, piece_bytes_max);
    return over_->live_lanes() > 1 ? std::min(limit, stripe_bytes_) : limit;
}

std::uint64_t flow::requests_of(const extent& one) const noexcept
{
    return one.error.failed() ? 0 : 1 + one.local.size() / stripe_bytes_;
}

flow::lane_share& flow::share_of(connection::lane& on) noexcept
{
    // At most one lane for each index has work of ours: another one takes its place only when it has been drained.
    auto found = std::find_if(lanes_.begin(), lanes_.end(), [&](const lane_share& each) { return each.on == &on; });
    if (found == lanes_.end()) {
        found = std::find_if(lanes_.begin(), lanes_.end(), [](const lane_share& each) { return each.groups == 0; });
    }
    assert(found != lanes_.end());
    return *found;
}

void flow::record(const group& ended, std::uint32_t failures, error_code error) noexcept
{
    --groups_;
    --share_of(*ended.on).groups;
    const auto first_failed = ended.requests - failures;
    each_piece(ended, [&](std::uint32_t count, extent& one, bool first) {
        if (first) {
            over_->end_use(one.remote.id());
        }
        if (count >= first_failed && !one.error.failed()) {
            one.error = count == first_failed ? error : make_error_code(completion_status::flushed);
        }
    });
    if (failures != 0 && !error_.failed()) {
        error_ = error;
    }
}

/// What is left of a flow once it is over. It may be used again, or be gone, when the handler is called.
struct flow::ending {
    handler_type handler;
    detail::handler_work<handler_type> work;
    boost::asio::any_io_executor home; // a copy: the runtime may be gone when it is called from a later turn
    error_code error;

    void operator()() { completion::call_handler(std::move(handler), home, error); }
};

void flow::group_ended()
{
    if (active() && over()) { // if not, posting the rest has ended it already
        end()();
    }
}

void flow::settle() noexcept
{
    if (active() && over()) {
        const auto& home = over_->owner().executor();
        boost::asio::post(home, end());
    }
}

flow::ending flow::end() noexcept
{
    if (auto slot = boost::asio::get_associated_cancellation_slot(*handler_); slot.is_connected()) {
        slot.clear();
    }
    timer_.stop();
    waiting.unlink();
    in_progress.unlink();
    auto& owner = over_->owner();
    ending taken{std::move(*handler_), std::move(*work_), owner.executor(), error_};
    handler_.reset();
    work_.reset();
    owner.poller().release_hold();
    ended();
    return taken;
}

void flow::stop(error_code why) noexcept
{
    waiting.unlink();
    while (next_ != extents_.size()) {
        fail_extent(why);
    }
    settle();
}

void flow::give_up(error_code why) noexcept
{
    if (given_up_) {
        return;
    }
    given_up_ = true;
    if (!error_.failed()) {
        error_ = why;
    }
    auto& poller = over_->owner().poller();
    const std::chrono::milliseconds grace(revoke_grace_);
    poller.timers().start(timer_, saturating_add(poller.time().now(), grace));
    stop(why);
}

void flow::due() noexcept
{
    if (!given_up_) {
        give_up(errc::timed_out);
        return;
    }
    for (const auto& each : lanes_) {
        if (each.groups != 0) {
            each.on->fail(error_);
        }
    }
}

void flow::abandon() noexcept
{
    timer_.stop();
    waiting.unlink();
    in_progress.unlink();
    handler_.reset();
    work_.reset();
}

void single_flow::begin(const extent& what, handler_type handler, const operation_options& options)
{
    extent_ = what;
    flow::begin(home_, {&extent_, 1}, {}, std::move(handler), options);
}

void single_flow::ended() noexcept
{
    home_.release(*this);
}

} // namespace penstock::transfer
