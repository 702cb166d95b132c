#include "message_samples.hpp"
#include "support/catch.hpp"

#include <array>
#include <map>

using namespace penstock;
using namespace penstock::storage;

namespace {

template <class Value>
std::vector<std::byte> encoded(const Value& value)
{
    std::vector<std::byte> message(message_bytes_max);
    message.resize(encode(value, message));
    return message;
}

bool is_encodable(const request& value)
{
    return !encoded(value).empty();
}

bool is_encodable(const response& value)
{
    return !encoded(value).empty();
}

} // namespace

TEST_CASE("requests have the documented bytes")
{
    for (const auto& sample : samples::requests()) {
        CAPTURE(static_cast<int>(sample.value.op));
        const auto bytes = samples::from_hex(sample.hex);
        CHECK(encoded(sample.value) == bytes);
        const auto decoded = decode_request(bytes);
        REQUIRE(decoded.has_value());
        CHECK(*decoded == sample.value);
    }
}

TEST_CASE("responses have the documented bytes")
{
    for (const auto& sample : samples::responses()) {
        CAPTURE(static_cast<int>(sample.value.op));
        const auto bytes = samples::from_hex(sample.hex);
        CHECK(encoded(sample.value) == bytes);
        const auto decoded = decode_response(bytes);
        REQUIRE(decoded.has_value());
        CHECK(*decoded == sample.value);
    }
}

TEST_CASE("the status numbers are those of the document")
{
    const std::map<int, errc> documented{{100, errc::invalid_argument}, {101, errc::out_of_range},
        {102, errc::not_supported}, {103, errc::wrong_state}, {105, errc::cancelled}, {212, errc::timed_out},
        {303, errc::integrity_error}, {304, errc::not_found}, {305, errc::already_exists},
        {306, errc::permission_denied}, {307, errc::no_space}, {308, errc::is_directory}, {309, errc::not_directory},
        {310, errc::outside_root}, {311, errc::name_invalid}, {312, errc::remote_io_error},
        {313, errc::changed_underneath}, {314, errc::overloaded}, {503, errc::message_too_large}};
    auto message = encoded(response{.op = operation::stat, .id = 1, .status = errc::not_found});
    for (int number = 1; number != 1000; ++number) {
        CAPTURE(number);
        message[8] = static_cast<std::byte>(number & 0xff);
        message[9] = static_cast<std::byte>(number >> 8);
        const auto decoded = decode_response(message);
        const auto known = documented.find(number);
        REQUIRE(decoded.has_value() == (known != documented.end()));
        if (decoded)
            CHECK(decoded->status == known->second);
        else
            CHECK(decoded.error() == errc::malformed_message);
    }
    // Beyond an int it must not turn into a small or negative number.
    message[8] = std::byte{0x30};
    message[9] = std::byte{0x01};
    message[11] = std::byte{0x80};
    CHECK(decode_response(message).has_error());
}

TEST_CASE("a message of somebody else is told from a broken one")
{
    auto message = samples::from_hex(samples::requests().front().hex);
    message[0] = std::byte{'G'};
    CHECK(decode_request(message).error() == errc::bad_magic);
    message[0] = std::byte{message_magic};
    message[1] = std::byte{2};
    CHECK(decode_request(message).error() == errc::unsupported_version);

    auto answer = samples::from_hex(samples::responses().front().hex);
    answer[1] = std::byte{0};
    CHECK(decode_response(answer).error() == errc::unsupported_version);
    answer[0] = std::byte{0};
    CHECK(decode_response(answer).error() == errc::bad_magic);
}

TEST_CASE("names up to the limits fit, longer ones do not")
{
    const std::string name(name_bytes_max, 'n');
    const std::string after(component_bytes_max, 'a');
    const request longest{.op = operation::list, .id = 1, .window = samples::window, .name = name, .after = after};
    const auto message = encoded(longest);
    REQUIRE(message.size() == request_bytes_max);
    CHECK(*decode_request(message) == longest);
    std::vector<std::byte> short_by_one(message.size() - 1);
    CHECK(encode(longest, short_by_one) == 0);

    const auto longer = name + 'n';
    CHECK_FALSE(is_encodable(request{.op = operation::stat, .name = longer}));
    const auto longer_after = after + 'a';
    CHECK_FALSE(is_encodable(request{.op = operation::list, .window = samples::window, .after = longer_after}));
}

TEST_CASE("a request breaks no rule of its operation")
{
    const auto window = samples::window;
    const request open{.op = operation::open, .window = window, .name = "x"};
    const request read{.op = operation::read, .handle = 1, .window = window};
    const request put{.op = operation::put, .window = window, .name = "x"};
    const request create{.op = operation::create, .name = "x"};
    const request close{.op = operation::close, .handle = 1};
    const request list{.op = operation::list, .window = window};
    for (const auto& good : {open, read, put, create, close, list})
        CHECK(is_encodable(good));

    const auto refused = [](request value, auto&& break_it) {
        break_it(value);
        return !is_encodable(value);
    };
    CHECK(refused(open, [](auto& r) { r.op = operation{0}; }));
    CHECK(refused(open, [](auto& r) { r.op = operation{11}; }));
    CHECK(refused(open, [](auto& r) { r.handle = 1; }));
    CHECK(refused(open, [](auto& r) { r.after = "a"; }));
    CHECK(refused(open, [](auto& r) { r.crc32c = 1; }));
    CHECK(refused(open, [](auto& r) { r.checksum = true, r.crc32c = 1; }));
    CHECK(refused(open, [](auto& r) { r.offset = 1; }));
    CHECK(refused(open, [](auto& r) { r.window.length = 0; }));
    CHECK(refused(open, [](auto& r) { r.window.address = UINT64_MAX - r.window.length + 1; }));
    CHECK(refused(open, [](auto& r) { r.permissions = 0600; }));
    CHECK(refused(open, [](auto& r) { r.promise = durability::persisted; }));
    CHECK(refused(read, [](auto& r) { r.handle = 0; }));
    CHECK(refused(read, [](auto& r) { r.name = "x"; }));
    CHECK(refused(read, [](auto& r) { r.offset = object_bytes_max - r.window.length + 1; }));
    CHECK(refused(read, [](auto& r) { r.window.length = object_bytes_max + 1, r.window.address = 0; }));
    CHECK(refused(put, [](auto& r) { r.permissions = 01000; }));
    CHECK(refused(put, [](auto& r) { r.promise = durability{2}; }));
    CHECK(refused(put, [](auto& r) { r.crc32c = 1; }));
    CHECK(refused(create, [](auto& r) { r.offset = object_bytes_max + 1; }));
    CHECK(refused(create, [](auto& r) { r.promise = durability::persisted; }));
    CHECK(refused(close, [](auto& r) { r.window = samples::window; }));
    CHECK(refused(close, [](auto& r) { r.checksum = true; }));
    CHECK(refused(list, [](auto& r) { r.window = {}; }));

    CHECK_FALSE(refused(open, [](auto& r) { r.window = {}; }));
    CHECK_FALSE(refused(put, [](auto& r) { r.window = {}, r.checksum = true; }));
    CHECK_FALSE(refused(read, [](auto& r) { r.offset = object_bytes_max - r.window.length; }));
    CHECK_FALSE(refused(create, [](auto& r) { r.offset = object_bytes_max; }));
}

TEST_CASE("a response breaks no rule of its operation")
{
    const response open{.op = operation::open, .handle = 1, .bytes = 4, .info = {object_kind::file, 10, 0644, 1}};
    const response read{.op = operation::read, .bytes = 4};
    const response list{.op = operation::list, .more = true, .bytes = 4};
    const response create{.op = operation::create, .handle = 1};
    const response failed{.op = operation::open, .status = errc::not_found};
    for (const auto& good : {open, read, list, create, failed})
        CHECK(is_encodable(good));

    const auto refused = [](response value, auto&& break_it) {
        break_it(value);
        return !is_encodable(value);
    };
    CHECK(refused(open, [](auto& r) { r.handle = 0; })); // it did not come whole
    CHECK(refused(open, [](auto& r) { r.bytes = 11; }));
    CHECK(refused(open, [](auto& r) { r.info.kind = object_kind::directory; }));
    CHECK(refused(open, [](auto& r) { r.info.kind = object_kind{2}; }));
    CHECK(refused(open, [](auto& r) { r.info.permissions = 01000; }));
    CHECK(refused(open, [](auto& r) { r.info.size = object_bytes_max + 1; }));
    CHECK(refused(open, [](auto& r) { r.more = true; }));
    CHECK(refused(read, [](auto& r) { r.crc32c = 1; }));
    CHECK(refused(read, [](auto& r) { r.handle = 1; }));
    CHECK(refused(read, [](auto& r) { r.info.size = 1; }));
    CHECK(refused(read, [](auto& r) { r.bytes = object_bytes_max + 1; }));
    CHECK(refused(create, [](auto& r) { r.handle = 0; }));
    CHECK(refused(create, [](auto& r) { r.bytes = 1; }));
    CHECK(refused(create, [](auto& r) { r.checksum = true; }));
    CHECK(refused(failed, [](auto& r) { r.handle = 1; }));
    CHECK(refused(failed, [](auto& r) { r.bytes = 1; }));
    CHECK(refused(failed, [](auto& r) { r.checksum = true; }));
    CHECK(refused(failed, [](auto& r) { r.info.size = 1; }));
    CHECK(refused(failed, [](auto& r) { r.status = errc::connection_lost; }));
    CHECK(refused(failed, [](auto& r) { r.status = make_system_error(304); }));
    CHECK_FALSE(refused(open, [](auto& r) { r.handle = 0, r.bytes = 10; }));
}

TEST_CASE("an answer is held against its question")
{
    const request asked{.op = operation::read, .checksum = true, .id = 5, .handle = 1, .window = samples::window};
    const response answer{
        .op = operation::read, .checksum = true, .id = 5, .bytes = samples::window.length, .crc32c = 1};
    CHECK_FALSE(check_answer(asked, answer));
    CHECK_FALSE(check_answer(asked, response{.op = operation::read, .id = 5, .status = errc::remote_io_error}));

    const auto refused = [&](auto&& break_it) {
        auto broken = answer;
        break_it(broken);
        return check_answer(asked, broken) == errc::malformed_message;
    };
    CHECK(refused([](auto& r) { r.id = 6; }));
    CHECK(refused([](auto& r) { r.op = operation::list; }));
    CHECK(refused([](auto& r) { ++r.bytes; }));
    CHECK(refused([](auto& r) { r.checksum = false; }));

    const request page{.op = operation::list, .id = 5, .window = samples::window};
    CHECK(check_answer(page, response{.op = operation::list, .more = true, .id = 5}) == errc::malformed_message);
    CHECK_FALSE(check_answer(page, response{.op = operation::list, .id = 5}));
    CHECK(check_answer(page, response{.op = operation::list, .checksum = true, .id = 5}) == errc::malformed_message);
}

TEST_CASE("a server answers with codes of the protocol only")
{
    CHECK(wire_status(errc::not_found) == errc::not_found);
    CHECK(wire_status(errc::pool_exhausted) == errc::overloaded);
    CHECK(wire_status(errc::no_memory) == errc::overloaded);
    CHECK(wire_status(errc::connection_lost) == errc::remote_io_error);
    CHECK(wire_status(make_system_error(304)) == errc::remote_io_error);
    CHECK(wire_status(completion_status::flushed) == errc::remote_io_error);
}
