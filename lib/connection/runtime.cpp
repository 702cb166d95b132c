#include <penstock/connection/runtime.hpp>

#include "device_watch.hpp"
#include "event_router.hpp"
#include "memory/numa.hpp"
#include "pool_waiters.hpp"

#include <penstock/completion/control_thread.hpp>
#include <penstock/connection/lane.hpp>
#include <penstock/core/fork.hpp>
#include <penstock/fabric/tcp.hpp>
#include <penstock/fabric/verbs.hpp>

#include <algorithm>

namespace penstock {

std::string_view to_string(transport_choice choice) noexcept
{
    switch (choice) {
    case transport_choice::automatic: return "auto";
    case transport_choice::verbs: return "verbs";
    case transport_choice::tcp: return "tcp";
    }
    return "unknown";
}

result<transport_choice> parse_transport_choice(std::string_view text) noexcept
{
    for (const auto choice : {transport_choice::automatic, transport_choice::verbs, transport_choice::tcp}) {
        if (text == to_string(choice)) {
            return choice;
        }
    }
    return make_error_code(errc::invalid_argument);
}

struct runtime::retired_lane {
    std::function<void()> done; // may hold buffers: goes after the lane, called or not
    std::shared_ptr<connection::lane> lane;
    bool abandoned = false;    // its owner is gone
    completion::timer destroy; // runs in the poller's own turn, not inside a completion of the lane
};

runtime::runtime(boost::asio::any_io_executor executor, const runtime_options& options)
    : executor_(std::move(executor))
    , time_(options.time != nullptr ? options.time : &system_clock_source())
    , random_(options.random != nullptr ? options.random : &system_random_source())
    , log_(options.log)
{
    if (log_.sink() != nullptr) {
        limited_log_ = std::make_unique<limited_log_sink>(*log_.sink(), *time_, options.log_limit);
        log_ = log_.through(*limited_log_);
    }
    fabric::tcp_options tcp;
    tcp.time = time_;
    tcp.log = log_.for_component("fabric.tcp");
    tcp_provider_ = fabric::make_tcp_provider(tcp);
    auto tcp_error = open_device(*tcp_provider_, options, {});
    if (!tcp_error.failed()) {
        tcp_error = open_channel(*tcp_provider_);
    }
    if (tcp_error.failed()) {
        throw system_error(tcp_error, "opening the tcp fabric");
    }

    if (options.transport == transport_choice::tcp) {
        verbs_reason_ = "tcp was asked for";
    } else if (const auto error = open_verbs(options); error.failed()) {
        if (options.transport == transport_choice::verbs) {
            throw system_error(error, "opening an RDMA device");
        }
        if (error != errc::no_device) {
            log_.warning("the RDMA device cannot be used: " + verbs_reason_);
        }
    }

    std::vector<fabric::protection_domain*> domains;
    for (const auto& opened : devices_) {
        domains.push_back(opened->domain.get());
    }
    auto application = options.pool;
    memory::memory_pool_options messages;
    if (const auto* const verbs = device(fabric::transport::verbs); verbs != nullptr) {
        messages.numa_node = memory::numa_node_of(verbs->device->info().name);
    }
    if (application.numa_node < 0) {
        application.numa_node = messages.numa_node;
    }
    pool_ = std::make_unique<memory::memory_pool>(domains, application);
    messages.slice_bytes = std::size_t{64} << 10U;
    messages.arena_bytes = std::size_t{2} << 20U;
    messages.bytes_max = options.message_bytes_max;
    messages_ = std::make_unique<memory::memory_pool>(domains, messages);
    landing_ = std::make_unique<connection::landing_words>(*messages_);
    make_registrar(domains, options);

    poller_ = std::make_unique<completion::poller>(*time_, options.poller);
    for (const auto& opened : devices_) {
        poller_->add(*opened->completions);
    }
    for (const auto& channel : channels_) {
        routers_.push_back(std::make_unique<connection::event_router>(*channel));
        poller_->add(*routers_.back());
    }
    for (const auto& opened : devices_) {
        watches_.push_back(std::make_unique<connection::device_watch>(*opened, log_));
        poller_->add(*watches_.back());
    }
    waiters_ = std::make_unique<connection::pool_waiters>(*this, *pool_, options.acquires_max);
    driver_ = std::make_unique<completion::asio_driver>(executor_, *poller_, options.polling);
}

void runtime::make_registrar(const std::vector<fabric::protection_domain*>& domains, const runtime_options& options)
{
    memory::registrar_options wanted;
    wanted.bytes_max = options.application_bytes_max;
    for (const auto& opened : devices_) {
        wanted.region_bytes_max
            = std::min<std::uint64_t>(wanted.region_bytes_max, opened->device->limits().region_bytes_max);
    }
    registrations_ = std::make_unique<memory::registrar>(domains, wanted);
    control_ = std::make_unique<completion::control_thread>(executor_);
    registrations_->release_elsewhere(
        [this](std::function<void()> work) { return !control_->start(std::move(work)).failed(); });
}

runtime::~runtime()
{
    driver_.reset();
    while (!kept_.empty()) {
        const auto ended = std::move(kept_.back());
        kept_.pop_back();
    }
    drain_retired();
    control_->finish();
}

error_code runtime::open_device(fabric::provider& provider, const runtime_options& options, std::string_view name)
{
    auto opened = std::make_unique<runtime_device>();
    opened->provider = &provider;
    opened->index = devices_.size();
    auto device = provider.open(name);
    if (!device) {
        return device.error();
    }
    opened->device = std::move(*device);
    opened->windows = options.memory_windows && opened->device->supports().has(fabric::capability::memory_windows);
    auto domain = opened->device->allocate_protection_domain();
    if (!domain) {
        return domain.error();
    }
    opened->domain = std::move(*domain);
    const auto depth
        = std::min<std::uint32_t>(options.completion_depth, opened->device->limits().completion_queue_depth_max);
    auto completions = opened->device->create_completion_queue(depth);
    if (!completions) {
        return completions.error();
    }
    opened->completions = std::move(*completions);
    devices_.push_back(std::move(opened));
    return {};
}

error_code runtime::open_channel(fabric::provider& provider)
{
    auto channel = provider.create_connection_channel();
    if (!channel) {
        return channel.error();
    }
    channels_.push_back(std::move(*channel));
    return {};
}

/// The devices that `wanted` means, of those that are there, best first.
static std::vector<std::string> names_of(const std::string& wanted, const std::vector<fabric::device_info>& found)
{
    std::vector<std::string> names;
    if (wanted.empty()) {
        names.push_back(found.front().name);
    } else if (wanted == "all") {
        for (const auto& info : found) {
            if (info.state == "active" || names.empty()) {
                names.push_back(info.name);
            }
        }
    } else {
        for (std::size_t first = 0; first <= wanted.size();) {
            const auto end = std::min(wanted.find(',', first), wanted.size());
            names.push_back(wanted.substr(first, end - first));
            first = end + 1;
        }
    }
    return names;
}

error_code runtime::open_verbs(const runtime_options& options)
{
    fabric::verbs_options wanted;
    wanted.time = time_;
    wanted.log = log_.for_component("fabric.verbs");
    verbs_provider_ = fabric::make_verbs_provider(wanted);
    const auto found = verbs_provider_->devices();
    if (found.empty()) {
        verbs_reason_ = "no RDMA device on this machine";
        return errc::no_device;
    }
    for (const auto& name : names_of(options.device, found)) {
        auto error = name.empty() ? error_code(errc::invalid_argument) : open_device(*verbs_provider_, options, name);
        if (!error.failed() && channels_.size() == 1) {
            error = open_channel(*verbs_provider_);
        }
        if (error.failed()) { // all that were named, or none
            verbs_reason_ = "RDMA device " + name + ": " + error.message();
            devices_.resize(1);
            channels_.resize(1);
            return error;
        }
        const auto& info = devices_.back()->device->info();
        verbs_reason_ += (verbs_reason_.empty() ? "RDMA device " : "; ") + info.name + " (" + info.why + ")";
    }
    log_.info(verbs_reason_);
    return {};
}

runtime_device* runtime::device(fabric::transport kind, std::size_t number) noexcept
{
    for (const auto& opened : devices_) {
        if (opened->device->info().kind == kind && number-- == 0) {
            return opened.get();
        }
    }
    return nullptr;
}

std::size_t runtime::device_count(fabric::transport kind) const noexcept
{
    return static_cast<std::size_t>(std::count_if(
        devices_.begin(), devices_.end(), [kind](const auto& opened) { return opened->device->info().kind == kind; }));
}

connection::event_router* runtime::router(fabric::transport kind) noexcept
{
    const auto which = kind == fabric::transport::tcp ? std::size_t{0} : std::size_t{1};
    return which < routers_.size() ? routers_[which].get() : nullptr;
}

void runtime::retire(std::shared_ptr<connection::lane> lane, std::function<void()> done)
{
    auto entry = std::make_unique<retired_lane>();
    auto* const retired = entry.get();
    retired->lane = std::move(lane);
    retired->done = std::move(done);
    retired->destroy.set_action([this, retired] {
        const auto found = std::find_if(
            retired_.begin(), retired_.end(), [retired](const auto& other) { return other.get() == retired; });
        const auto ended = std::move(*found);
        retired_.erase(found);
        ended->lane->dismantle();
        ended->lane.reset();
        poller_->release_hold(); // first: `done` may throw
        if (ended->done && !ended->abandoned) {
            ended->done();
        }
    });
    retired_.push_back(std::move(entry));
    poller_->hold();
    retired->lane->begin_retirement([this, retired] { poller_->timers().start(retired->destroy, time_->now()); });
}

void runtime::keep(std::shared_ptr<void> operation)
{
    kept_.push_back(std::move(operation));
}

void runtime::drop(const void* operation) noexcept
{
    const auto found
        = std::find_if(kept_.begin(), kept_.end(), [operation](const auto& kept) { return kept.get() == operation; });
    if (found != kept_.end()) {
        const auto ended = std::move(*found); // destroyed after the list is whole again
        kept_.erase(found);
    }
}

// Operations that end here run their handlers; `done` is not called, since its owner may be gone.
void runtime::drain_retired() noexcept
{
    for (const auto& entry : retired_) {
        entry->abandoned = true;
    }
    const auto limit = saturating_add(time_->now(), drain_limit);
    while (!retired_.empty() && !core::forked() && time_->now() < limit) {
        (void)poller_->poll();
    }
    for (const auto& entry : retired_) {
        entry->lane->dismantle();
    }
    retired_.clear();
}

} // namespace penstock
