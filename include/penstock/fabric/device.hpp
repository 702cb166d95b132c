#pragma once

// Devices, what they can do, and the providers they come from.

#include <penstock/fabric/connection.hpp>
#include <penstock/fabric/memory.hpp>
#include <penstock/fabric/queue_pair.hpp>
#include <penstock/fabric/types.hpp>

#include <memory>
#include <string>
#include <vector>

namespace penstock::fabric {

/// What devices really differ in. Anything not listed behaves the same everywhere; docs/fabric.md explains each bit
/// and tests/conformance asserts the deviation of a device that lacks it.
enum class capability : std::uint32_t {
    passive_target_progress = 1U << 0U,  ///< one-sided work of the peer needs no polling here
    memory_windows = 1U << 1U,           ///< type-2 memory windows
    window_range_enforced = 1U << 2U,    ///< a window's key reaches only the window's bytes
    window_owner_enforced = 1U << 3U,    ///< a window's key works, and is invalidated, only on its own queue pair
    window_reinvalidate_safe = 1U << 4U, ///< invalidating an invalid window is an error, not a crash
    send_with_invalidate = 1U << 5U,
    atomics = 1U << 6U,
    error_status_exact = 1U << 7U, ///< a failed request's status is the one the specification names for the cause
};

struct capabilities {
    std::uint32_t bits = 0;
    constexpr bool has(capability c) const noexcept { return (bits & static_cast<std::uint32_t>(c)) != 0; }
    constexpr void set(capability c) noexcept { bits |= static_cast<std::uint32_t>(c); }
};

struct device_limits {
    std::uint64_t message_bytes_max = 0;
    std::uint64_t region_bytes_max = 0;
    std::uint32_t regions_max = 0;
    std::uint32_t windows_max = 0;
    std::uint32_t queue_pairs_max = 0;
    std::uint32_t send_depth_max = 0;
    std::uint32_t receive_depth_max = 0;
    std::uint32_t segments_max = 0;
    std::uint32_t completion_queue_depth_max = 0;
    std::uint32_t shared_receive_depth_max = 0;
    std::uint32_t reads_and_atomics_max = 0; ///< outstanding per queue pair, each direction
    std::uint32_t inline_bytes_max = 0;
    std::uint32_t connect_private_data_max = 0; ///< bytes; likewise the next two
    std::uint32_t accept_private_data_max = 0;
    std::uint32_t reject_private_data_max = 0;
};

enum class link_layer : std::uint8_t { none, infiniband, ethernet };

std::string_view to_string(link_layer layer) noexcept;

/// One way in which a device could be used: a port, and an entry of that port's table of GIDs.
struct path_candidate {
    std::uint32_t port = 0;
    std::uint32_t gid_index = 0; ///< may change when addresses do: for people, and for an override
    std::string gid;             ///< as an IPv6 address
    std::string address;         ///< numeric, that leads there; empty: none
    std::string interface;       ///< network device; empty: none
    bool usable = false;
    std::string why; ///< one sentence: what it is, or what it lacks against the one chosen
};

struct device_info {
    std::string name;                   ///< as the kernel calls it; "tcp" for the embedded fabric
    transport kind{};                   ///< who serves it
    std::vector<std::string> addresses; ///< that reach it, numeric; the chosen one first
    std::string state;                  ///< "active", or why not

    // What was chosen of an RDMA device; nothing on others.
    std::uint32_t port = 0; ///< 0: there is none
    std::uint32_t gid_index = 0;
    std::string gid; ///< as an IPv6 address
    std::string interface;
    link_layer layer = link_layer::none;
    std::uint32_t mtu = 0;                  ///< bytes of payload in a packet at most
    std::uint64_t speed = 0;                ///< bits per second
    std::string why;                        ///< one sentence: why these
    std::vector<path_candidate> candidates; ///< best first
};

/// Where a connection over this device should start from to reach `remote`: its first address of that family, or an
/// unspecified one where it has none (the route decides then).
endpoint source_for(const device_info& info, const endpoint& remote);

enum class device_event_type : std::uint8_t {
    queue_pair_fatal,
    queue_pair_access_error,
    last_request_reached, ///< not every device raises it: do not wait for it
    completion_queue_error,
    port_active,
    port_error,
    gid_changed,
    address_changed,
    device_fatal,
    other,
};

struct device_event {
    device_event_type type{};
    std::uint32_t queue_pair_number = 0; ///< where the event is about one
    std::uint32_t port = 0;
};

struct device_statistics {
    std::uint64_t protocol_errors
        = 0; ///< times a peer broke the rules of the wire, which ended the queue pair; tcp only
};

/// An open device.
///
/// Ownership: protection domains and completion queues are its children and must be destroyed before it.
/// Threads: any.
class device {
public:
    device(const device&) = delete;
    device& operator=(const device&) = delete;
    virtual ~device() = default;

    virtual const device_info& info() const noexcept = 0;
    virtual const device_limits& limits() const noexcept = 0;
    virtual capabilities supports() const noexcept = 0;

    /// Errors: no_memory, or errno.
    virtual result<std::unique_ptr<protection_domain>> allocate_protection_domain() = 0;

    /// `depth` must cover the send and receive depths of all queue pairs that will use it: a completion queue that
    /// overruns is dead. Errors: invalid_argument (0, or beyond completion_queue_depth_max), no_memory, or errno.
    virtual result<std::unique_ptr<completion_queue>> create_completion_queue(std::uint32_t depth) = 0;

    /// Takes asynchronous events; drain until it returns 0 when event_descriptor() is readable. Never blocks.
    virtual std::size_t poll_events(std::span<device_event> out) = 0;
    virtual int event_descriptor() const noexcept = 0;

    /// Counted since it was opened.
    virtual device_statistics statistics() const noexcept { return {}; }

protected:
    device() = default;
};

/// A kind of fabric. Parent of the devices and connection channels it makes; destroy it last.
/// Threads: any.
class provider {
public:
    provider(const provider&) = delete;
    provider& operator=(const provider&) = delete;
    virtual ~provider() = default;

    virtual transport kind() const noexcept = 0;

    /// The devices there are now, best first. Empty is not an error.
    virtual std::vector<device_info> devices() const = 0;

    /// `name` of a device_info; empty for the first. An RDMA device's may be followed by a port and an index into its table of
    /// GIDs, which are then used instead of those that would be chosen: "mlx5_0:1", "mlx5_0:1:3".
    /// Errors: no_device (also: no such port or GID), invalid_argument (a name that cannot be read), or errno.
    virtual result<std::unique_ptr<device>> open(std::string_view name = {}) = 0;

    virtual result<std::unique_ptr<connection_channel>> create_connection_channel() = 0;

protected:
    provider() = default;
};

} // namespace penstock::fabric
