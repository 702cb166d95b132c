#pragma once

// Regions, windows and protection domains.

#include "fabric/tcp/key_table.hpp"
#include "fabric/tcp/requester.hpp"

#include <penstock/core/log.hpp>
#include <penstock/fabric/memory.hpp>

#include <atomic>

namespace penstock::fabric::tcp {

class device;

class region final : public memory_region {
public:
    region(key_table& keys, const logger& log, std::span<std::byte> bytes, std::uint32_t key) noexcept
        : keys_(keys)
        , log_(log)
        , bytes_(bytes)
        , key_(key)
    {}
    ~region() override;

    std::span<std::byte> bytes() const noexcept override { return bytes_; }
    std::uint32_t lkey() const noexcept override { return key_; }
    std::uint32_t rkey() const noexcept override { return key_; }
    error_code deregister() override;

private:
    key_table& keys_;
    logger log_;
    std::span<std::byte> bytes_;
    std::uint32_t key_;
    bool alive_ = true;
};

class window final : public memory_window {
public:
    window(key_table& keys, std::uint32_t first_key, std::uint32_t domain) noexcept
        : keys_(keys)
        , key_(first_key)
        , domain_(domain)
    {}
    ~window() override;

    std::uint32_t key() const noexcept override { return key_; }
    std::uint32_t next_key() const noexcept override { return (key_ & ~0xffU) | ((key_ + 1) & 0xffU); }
    /// A bind is posted: its key becomes the window's.
    std::uint32_t advance() noexcept { return key_ = next_key(); }

    std::uint32_t domain() const noexcept { return domain_; }

private:
    key_table& keys_;
    std::uint32_t key_;
    std::uint32_t domain_;
};

class domain final : public protection_domain {
public:
    domain(device& owner, std::uint32_t number) noexcept
        : owner_(owner)
        , number_(number)
    {}

    result<std::unique_ptr<memory_region>> register_memory(std::span<std::byte> bytes, access rights) override;
    result<std::unique_ptr<memory_window>> allocate_window() override;
    result<std::unique_ptr<shared_receive_queue>> create_shared_receive_queue(
        const shared_receive_queue_options& options) override;
    result<std::unique_ptr<fabric::queue_pair>> create_queue_pair(const queue_pair_options& options) override;

    device& owner() const noexcept { return owner_; }

private:
    device& owner_;
    std::uint32_t number_;
};

/// Executes a posted bind. False: memory_window_bind_error.
bool bind_window(const key_context& context, const send_entry& entry) noexcept;

} // namespace penstock::fabric::tcp
