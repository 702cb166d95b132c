#pragma once

// A protection domain that counts, and refuses when told to.

#include <penstock/fabric/memory.hpp>

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace penstock::test {

class fake_domain final : public fabric::protection_domain {
public:
    struct region final : fabric::memory_region {
        region(fake_domain& owner, std::span<std::byte> bytes, std::uint32_t key)
            : owner_(owner)
            , bytes_(bytes)
            , key_(key)
        {
            owner_.bytes += bytes.size();
            ++owner_.regions;
        }
        ~region() override { (void)deregister(); }

        std::span<std::byte> bytes() const noexcept override { return bytes_; }
        std::uint32_t lkey() const noexcept override { return key_; }
        std::uint32_t rkey() const noexcept override { return key_; }
        error_code deregister() override
        {
            if (owner_.windows_bound) {
                return errc::region_in_use;
            }
            if (std::exchange(alive_, false)) {
                owner_.bytes -= bytes_.size();
                --owner_.regions;
            }
            return {};
        }

    private:
        fake_domain& owner_;
        std::span<std::byte> bytes_;
        std::uint32_t key_;
        bool alive_ = true;
    };

    result<std::unique_ptr<fabric::memory_region>> register_memory(
        std::span<std::byte> wanted, fabric::access rights) override
    {
        rights_seen.push_back(rights);
        if (refuse_at-- == 0) {
            return make_error_code(refusal);
        }
        return std::unique_ptr<fabric::memory_region>(std::make_unique<region>(*this, wanted, next_key++));
    }
    result<std::unique_ptr<fabric::memory_window>> allocate_window() override
    {
        return make_error_code(errc::not_supported);
    }
    result<std::unique_ptr<fabric::shared_receive_queue>> create_shared_receive_queue(
        const fabric::shared_receive_queue_options& /*options*/) override
    {
        return make_error_code(errc::not_supported);
    }
    result<std::unique_ptr<fabric::queue_pair>> create_queue_pair(
        const fabric::queue_pair_options& /*options*/) override
    {
        return make_error_code(errc::not_supported);
    }

    std::uint64_t refuse_at = std::numeric_limits<std::uint64_t>::max(); ///< the registration, counted from 0
    errc refusal = errc::registration_refused;
    std::uint32_t next_key = 1;
    bool windows_bound = false; ///< no region can be deregistered
    std::atomic<std::size_t> bytes{0};
    std::atomic<std::size_t> regions{0};
    std::vector<fabric::access> rights_seen;
};

} // namespace penstock::test
