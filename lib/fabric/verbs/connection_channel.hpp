#pragma once

#include "fabric/verbs/connection.hpp"

#include <penstock/fabric/connection.hpp>

#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>
#include <rdma/rdma_cma.h>

#include <atomic>

namespace penstock::fabric::verbs {

class verbs_listener;
class verbs_provider;

class verbs_connection_channel final : public connection_channel {
public:
    static result<std::unique_ptr<connection_channel>> create(verbs_provider& owner);
    ~verbs_connection_channel() override;

    result<std::unique_ptr<listener>> listen(const endpoint& local, const listen_options& options) override;
    result<std::unique_ptr<connection>> resolve(const endpoint& remote, const resolve_options& options) override;
    std::size_t poll(std::span<connection_event> out) override;
    int descriptor() const noexcept override { return event_set_; }

    verbs_provider& owner() const noexcept { return owner_; }
    rdma_event_channel& native() const noexcept { return *channel_; }

    /// `connection::deadline()` is set: its on_deadline will be called then.
    void wait(verbs_connection& connection);
    void forget(verbs_connection& connection) noexcept;

    /// Any thread, under the link mutex.
    void note_broken(verbs_connection& connection) noexcept;
    void forget_broken(verbs_connection& connection) noexcept;

private:
    struct deadline_of {
        using type = time_point;
        type operator()(const verbs_connection& connection) const noexcept { return connection.deadline(); }
    };
    using deadlines = boost::intrusive::multiset<verbs_connection, boost::intrusive::key_of_value<deadline_of>,
        boost::intrusive::constant_time_size<false>>;

    using broken_list = boost::intrusive::list<verbs_connection,
        boost::intrusive::member_hook<verbs_connection, boost::intrusive::list_member_hook<>,
            &verbs_connection::broken_hook>,
        boost::intrusive::constant_time_size<false>>;

    explicit verbs_connection_channel(verbs_provider& owner) noexcept
        : owner_(owner)
    {}
    error_code initialise();
    bool take(rdma_cm_event& event, connection_event& out);
    bool take_request(verbs_listener& listener, rdma_cm_id& id, const cm_event& event, connection_event& out);
    void take_broken();
    void set_timer();

    verbs_provider& owner_;
    rdma_event_channel* channel_ = nullptr;
    int timer_ = -1;     ///< timerfd
    int wake_ = -1;      ///< eventfd: something is in broken_
    int event_set_ = -1; ///< epoll: the event channel, timer_ and wake_
    std::atomic<bool> woken_{false};
    broken_list broken_; ///< connections whose queue pair is in ERROR; guarded by the link mutex
    time_point timer_set_for_ = time_point_never;
    deadlines deadlines_;
};

} // namespace penstock::fabric::verbs
