#include "message_samples.hpp"
#include "support/catch.hpp"

#include <penstock/core/random.hpp>

#include <algorithm>
#include <memory>

using namespace penstock;
using namespace penstock::storage;

namespace {

// The bytes on the heap, exactly as long: reading past them is seen by AddressSanitizer.
class exact {
public:
    explicit exact(std::span<const std::byte> bytes)
        : memory_(std::make_unique<std::byte[]>(bytes.size()))
        , size_(bytes.size())
    {
        std::copy(bytes.begin(), bytes.end(), memory_.get());
    }
    std::span<const std::byte> span() const { return {memory_.get(), size_}; }

private:
    std::unique_ptr<std::byte[]> memory_;
    std::size_t size_;
};

// True when accepted. What is accepted must be encoded to the same bytes: nothing was ignored.
bool request_survives(std::span<const std::byte> bytes)
{
    const exact message(bytes);
    const auto decoded = decode_request(message.span());
    if (!decoded)
        return false;
    std::vector<std::byte> again(message_bytes_max);
    again.resize(encode(*decoded, again));
    if (!std::equal(again.begin(), again.end(), bytes.begin(), bytes.end()))
        throw std::logic_error("request encoded differently");
    return true;
}

bool response_survives(std::span<const std::byte> bytes)
{
    const exact message(bytes);
    const auto decoded = decode_response(message.span());
    if (!decoded)
        return false;
    std::vector<std::byte> again(message_bytes_max);
    again.resize(encode(*decoded, again));
    if (!std::equal(again.begin(), again.end(), bytes.begin(), bytes.end()))
        throw std::logic_error("response encoded differently");
    return true;
}

bool entries_survive(std::span<const std::byte> bytes)
{
    const exact window(bytes);
    const auto decoded = decode_entries(window.span());
    if (!decoded)
        return false;
    std::vector<std::byte> again(bytes.size());
    again.resize(encode_entries(*decoded, again));
    if (!std::equal(again.begin(), again.end(), bytes.begin(), bytes.end()))
        throw std::logic_error("entries encoded differently");
    return true;
}

struct counts {
    std::size_t accepted = 0;
    std::size_t refused = 0;
};

template <class Survives>
counts flip_every_bit(std::vector<std::byte> bytes, Survives&& survives)
{
    counts seen;
    for (std::size_t bit = 0; bit != bytes.size() * 8; ++bit) {
        const auto mask = static_cast<std::byte>(1U << bit % 8);
        bytes[bit / 8] ^= mask;
        ++(survives(bytes) ? seen.accepted : seen.refused);
        bytes[bit / 8] ^= mask;
    }
    return seen;
}

template <class Survives>
void refuse_every_truncation(std::vector<std::byte> bytes, Survives&& survives)
{
    REQUIRE(survives(bytes));
    for (std::size_t length = 0; length != bytes.size(); ++length) {
        CAPTURE(length);
        REQUIRE_FALSE(survives(std::span(bytes).first(length)));
    }
    bytes.push_back(std::byte{0});
    REQUIRE_FALSE(survives(bytes));
}

template <class Survives>
counts try_random(std::span<const std::byte> model, std::size_t rounds, random_source& random, Survives&& survives)
{
    counts seen;
    for (std::size_t round = 0; round != rounds; ++round) {
        std::vector<std::byte> bytes(uniform_below(random, 2 * model.size() + 1));
        random.fill(bytes);
        // Half of them follow the model but for a few bytes: pure noise never gets past the first one.
        if (round % 2 == 0) {
            bytes.assign(model.begin(), model.end());
            for (auto changes = uniform_below(random, 4) + 1; changes != 0; --changes)
                bytes[uniform_below(random, bytes.size())] = static_cast<std::byte>(random.next());
        }
        ++(survives(bytes) ? seen.accepted : seen.refused);
    }
    return seen;
}

} // namespace

TEST_CASE("no truncated request is accepted, no flipped one is misread")
{
    seeded_random_source random(20'261);
    counts flipped;
    for (const auto& sample : samples::requests()) {
        const auto bytes = samples::from_hex(sample.hex);
        refuse_every_truncation(bytes, request_survives);
        const auto seen = flip_every_bit(bytes, request_survives);
        flipped.accepted += seen.accepted;
        flipped.refused += seen.refused;
        const auto noise = try_random(bytes, 20'000, random, request_survives);
        CHECK(noise.refused > 10'000);
    }
    CHECK(flipped.accepted > 0);
    CHECK(flipped.refused > flipped.accepted);
}

TEST_CASE("no truncated response is accepted, no flipped one is misread")
{
    seeded_random_source random(20'262);
    for (const auto& sample : samples::responses()) {
        const auto bytes = samples::from_hex(sample.hex);
        refuse_every_truncation(bytes, response_survives);
        const auto seen = flip_every_bit(bytes, response_survives);
        CHECK(seen.accepted >= 32); // the request's id, at least
        CHECK(seen.refused > 0);
        const auto noise = try_random(bytes, 20'000, random, response_survives);
        CHECK(noise.refused > 10'000);
    }
}

TEST_CASE("no entry cut off is accepted, no flipped one is misread")
{
    const auto bytes = samples::from_hex(samples::entries_hex);
    const auto first = encoded_bytes(samples::entries().front());
    for (std::size_t length = 0; length != bytes.size(); ++length) {
        CAPTURE(length);
        CHECK(entries_survive(std::span(bytes).first(length)) == (length == 0 || length == first));
    }
    const auto seen = flip_every_bit(bytes, entries_survive);
    CHECK(seen.accepted > 0);
    CHECK(seen.refused > 0);
    seeded_random_source random(20'263);
    const auto noise = try_random(bytes, 50'000, random, entries_survive);
    CHECK(noise.accepted > 0);
    CHECK(noise.refused > 0);
}
