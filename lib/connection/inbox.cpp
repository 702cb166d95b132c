#include <penstock/connection/inbox.hpp>

#include <penstock/connection/lane.hpp>

namespace penstock::connection {

inbox::inbox(runtime& rt)
    : runtime_(rt)
    , match_([this] { match(); })
{}

inbox::~inbox()
{
    *alive_ = false;
    while (!arrived_.empty()) {
        take();
    }
    end(errc::connection_closed);
}

received_message inbox::take() noexcept
{
    auto& slot = arrived_.front();
    arrived_.pop_front();
    return received_message(slot);
}

error_code inbox::wait(receive_waiter& who)
{
    if (over_.failed() && arrived_.size() <= waiting_.size()) {
        return over_;
    }
    if (waiting_.size() == waiting_max) {
        return errc::receive_queue_full;
    }
    waiting_.push_back(who);
    if (pair() && !matching_) {
        runtime_.poller().timers().start(match_, runtime_.time().now());
    }
    return {};
}

void inbox::arrived(receive_slot& slot)
{
    ++slot.home->kept;
    arrived_.push_back(slot);
    if (!matching_) {
        match();
    }
}

// Serves those too who receive again in their handlers, which thus do not run inside the initiating call.
void inbox::match()
{
    struct turn {
        inbox& of;
        std::shared_ptr<const bool> alive; // a handler may throw, or destroy the inbox
        ~turn()
        {
            if (*alive) {
                of.matching_ = false;
                if (of.pair()) {
                    of.runtime_.poller().timers().start(of.match_, of.runtime_.time().now());
                }
            }
        }
    };
    constexpr int pairs_max = 64;
    matching_ = true;
    const turn running{*this, alive_};
    for (int i = 0; i != pairs_max && *running.alive && pair(); ++i) {
        auto& who = waiting_.front();
        waiting_.pop_front();
        who.arrived(take());
    }
}

void inbox::drop_orphans() noexcept
{
    for (auto at = arrived_.begin(); at != arrived_.end();) {
        auto& slot = *at++;
        if (slot.home->owner == nullptr || slot.home->owner->failed()) {
            arrived_.erase(arrived_.iterator_to(slot));
            (void)received_message(slot);
        }
    }
}

void inbox::end(error_code why)
{
    if (!over_.failed()) {
        over_ = why;
    }
    while (waiting_.size() > arrived_.size()) {
        auto& last = waiting_.back();
        waiting_.pop_back();
        last.ended(over_);
    }
}

} // namespace penstock::connection
