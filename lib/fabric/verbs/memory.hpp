#pragma once

#include "fabric/verbs/window_table.hpp"

#include <penstock/fabric/memory.hpp>

#include <infiniband/verbs.h>

#include <atomic>

namespace penstock::fabric::verbs {

class verbs_device;
class verbs_queue_pair;

/// ibv_access_flags of a set of rights.
int to_native(access rights) noexcept;

class verbs_memory_region final : public memory_region {
public:
    static result<std::unique_ptr<memory_region>> create(
        verbs_device& device, ibv_pd& domain, std::span<std::byte> bytes, access rights);
    verbs_memory_region(verbs_device& device, std::span<std::byte> bytes, ibv_mr& region) noexcept
        : device_(device)
        , bytes_(bytes)
        , region_(&region)
        , lkey_(region.lkey)
        , rkey_(region.rkey)
    {}
    ~verbs_memory_region() override;

    std::span<std::byte> bytes() const noexcept override { return bytes_; }
    std::uint32_t lkey() const noexcept override { return lkey_; }
    std::uint32_t rkey() const noexcept override { return rkey_; }
    error_code deregister() override;

    /// Null once deregistered.
    ibv_mr* native() const noexcept { return region_; }
    /// Windows that posted requests have left bound here.
    std::atomic<std::uint32_t>& windows() noexcept { return *windows_; }

private:
    verbs_device& device_;
    std::span<std::byte> bytes_;
    ibv_mr* region_;
    std::uint32_t lkey_;
    std::uint32_t rkey_;
    // Left behind where windows are still bound at the end: they count themselves off.
    std::unique_ptr<std::atomic<std::uint32_t>> windows_ = std::make_unique<std::atomic<std::uint32_t>>(0);
};

class verbs_memory_window final : public memory_window, public window_entry {
public:
    verbs_memory_window(verbs_device& device, ibv_mw& window) noexcept
        : device_(device)
        , window_(&window)
        , key_(window.rkey)
    {}
    ~verbs_memory_window() override;

    std::uint32_t key() const noexcept override { return key_; }
    std::uint32_t next_key() const noexcept override { return ibv_inc_rkey(key_); }

    /// Null once its queue pair has been destroyed under it.
    ibv_mw* native() const noexcept { return window_; }

    /// A bind with next_key() is on the send queue. The device takes the present key from ibv_mw at the next post.
    void bind_posted() noexcept
    {
        key_ = next_key();
        window_->rkey = key_;
    }

    /// Ends all access through the window, bound or not.
    void deallocate() noexcept;

private:
    verbs_device& device_;
    ibv_mw* window_;
    std::uint32_t key_;
};

} // namespace penstock::fabric::verbs
