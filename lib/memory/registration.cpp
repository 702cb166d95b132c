#include <penstock/memory/registration.hpp>

#include <penstock/core/byte_size.hpp>
#include <penstock/core/fork.hpp>

#include <cassert>
#include <fstream>
#include <utility>

#include <sys/resource.h>

namespace penstock::memory {
namespace {

/// What devices have pinned for this process: the part of the limit that is used up.
std::size_t pinned_bytes()
{
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("VmPin:")) {
            return std::stoull(line.substr(6)) << 10U; // in KiB
        }
    }
    return 0;
}

std::string budget_help(std::size_t bytes, std::size_t used, std::size_t most)
{
    return "registering " + format_byte_size(bytes) + " goes beyond the budget of " + format_byte_size(most)
        + ", of which " + format_byte_size(used)
        + " are in use: raise runtime_options::application_bytes_max or release registrations";
}

} // namespace

std::string registration_help(std::size_t bytes)
{
    rlimit locked{};
    const auto pinned = pinned_bytes();
    std::string text = "raise `ulimit -l`: registering " + format_byte_size(bytes) + " needs "
        + format_byte_size(pinned + bytes) + " of locked memory (" + format_byte_size(pinned)
        + " are locked already), the limit is ";
    if (::getrlimit(RLIMIT_MEMLOCK, &locked) != 0 || locked.rlim_cur == RLIM_INFINITY) {
        return text + "unlimited: something else refused it";
    }
    return text + format_byte_size(locked.rlim_cur);
}

registration::registration(registration&& other) noexcept
    : range_(std::move(other.range_))
    , owner_(std::exchange(other.owner_, nullptr))
    , refusal_(std::move(other.refusal_))
{}

registration& registration::operator=(registration&& other) noexcept
{
    std::swap(range_, other.range_);
    std::swap(owner_, other.owner_);
    std::swap(refusal_, other.refusal_);
    return *this;
}

registration::~registration()
{
    if (range_ != nullptr) {
        owner_->release(std::move(range_));
    }
}

std::size_t registration::region_count() const noexcept
{
    return range_ == nullptr || owner_->domains_.empty() ? 0 : range_->region_count() / owner_->domains_.size();
}

error_code registration::deregister()
{
    if (core::forked()) {
        return errc::forked;
    }
    if (range_ == nullptr) {
        return errc::wrong_state;
    }
    if (const auto error = owner_->end(*range_); error.failed()) {
        return error;
    }
    range_.reset();
    return {};
}

registrar::registrar(std::vector<fabric::protection_domain*> domains, const registrar_options& options)
    : domains_(std::move(domains))
    , options_(options)
{}

registrar::~registrar()
{
    assert((core::forked() || registrations_ == 0) && "a registration outlives its runtime");
}

registration registrar::register_memory(
    std::span<std::byte> bytes, const registration_options& options, error_code& error)
{
    error = {};
    registration made;
    if (core::forked()) {
        error = errc::forked;
        return made;
    }
    if (!take_budget(bytes.size())) {
        error = errc::registration_budget;
        made.refusal_ = budget_help(bytes.size(), bytes_, options_.bytes_max);
        return made;
    }
    auto range
        = registered_range::create(bytes, domains_, std::min(options.region_bytes_max, options_.region_bytes_max));
    if (!range) {
        bytes_ -= bytes.size();
        error = range.error();
        made.refusal_ = error == errc::registration_refused ? registration_help(bytes.size()) : error.message();
        return made;
    }
    ++registrations_;
    made.range_ = std::move(*range);
    made.owner_ = this;
    return made;
}

registration registrar::register_memory(std::span<std::byte> bytes, const registration_options& options)
{
    error_code error;
    auto made = register_memory(bytes, options, error);
    if (error.failed()) {
        throw system_error(error, made.refusal());
    }
    return made;
}

registrar_statistics registrar::statistics() const noexcept
{
    return {registrations_, bytes_, options_.bytes_max};
}

bool registrar::take_budget(std::size_t bytes) noexcept
{
    auto used = bytes_.load();
    do {
        if (bytes > options_.bytes_max - used) {
            return false;
        }
    } while (!bytes_.compare_exchange_weak(used, used + bytes));
    return true;
}

error_code registrar::end(registered_range& range) noexcept
{
    const auto error = range.deregister();
    if (!error.failed()) {
        bytes_ -= range.bytes().size();
        --registrations_;
    }
    return error;
}

// A region that cannot be deregistered is leaked by its destructor, which logs it, and goes on counting as pinned.
void registrar::release(std::shared_ptr<registered_range> range) noexcept
{
    if (core::forked()) {
        return;
    }
    const auto work = [this, range = std::move(range)] {
        if (end(*range).failed()) {
            --registrations_;
        }
    };
    if (!later_ || !later_(work)) {
        work();
    }
}

} // namespace penstock::memory
