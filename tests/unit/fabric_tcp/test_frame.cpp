#include "fabric/tcp/frame.hpp"
#include "support/catch.hpp"

#include <penstock/core/random.hpp>

using namespace penstock::fabric::tcp;

namespace {

std::string hex(const header_buffer& bytes)
{
    static constexpr char digits[] = "0123456789abcdef";
    std::string text;
    for (const auto byte : bytes) {
        text += digits[std::to_integer<unsigned>(byte) >> 4U];
        text += digits[std::to_integer<unsigned>(byte) & 15U];
    }
    return text;
}

frame_header write_frame()
{
    frame_header frame;
    frame.type = frame_type::write;
    frame.length = 0x1000;
    frame.message = 0x01020304;
    frame.acknowledge = 0x05060708;
    frame.address = 0x1122334455667788;
    frame.key = 0xa1a2a3a4;
    frame.a = 0x3000;
    frame.b = 0x1000;
    return frame;
}

bool decodes(const frame_header& frame)
{
    header_buffer bytes;
    encode(frame, bytes);
    frame_header seen;
    return decode(bytes, seen);
}

} // namespace

TEST_CASE("a frame header has these bytes")
{
    header_buffer bytes;
    encode(write_frame(), bytes);
    CHECK(hex(bytes)
        == "0200000000100000040302010807060588776655443322"
           "11a4a3a2a100000000003000000000000000100000000000"
           "00");
    frame_header seen;
    REQUIRE(decode(bytes, seen));
    CHECK(seen == write_frame());
}

TEST_CASE("a handshake header has these bytes")
{
    handshake_header header;
    header.kind = handshake_kind::accept;
    header.initiator_depth = 3;
    header.responder_resources = 4;
    header.private_data_bytes = 196;
    header.queue_pair_number = 0x01020304;
    header_buffer bytes;
    encode(header, bytes);
    CHECK(hex(bytes)
        == "50454e53544f434b0100020003040000c4000000040302010000000000000000"
           "00000000000000000000000000000000");
    handshake_header seen;
    REQUIRE(decode(bytes, seen));
    CHECK(seen == header);
}

TEST_CASE("handshakes of another magic, version, kind or size are refused")
{
    handshake_header header;
    header.private_data_bytes = connect_private_data_max;
    header_buffer bytes;
    handshake_header seen;
    encode(header, bytes);
    REQUIRE(decode(bytes, seen));
    for (const std::size_t at : {0U, 7U, 8U, 9U, 10U}) {
        auto broken = bytes;
        broken[at] ^= std::byte{0x80};
        CHECK_FALSE(decode(broken, seen));
    }
    header.private_data_bytes = connect_private_data_max + 1;
    encode(header, bytes);
    CHECK_FALSE(decode(bytes, seen));
}

TEST_CASE("frames that contradict themselves are refused")
{
    auto frame = write_frame();
    CHECK(decodes(frame));
    frame.length = frame_bytes_max + 1;
    frame.a = 1U << 30U;
    CHECK_FALSE(decodes(frame));
    frame = write_frame();
    frame.length = 0x2001; // beyond the message
    CHECK_FALSE(decodes(frame));
    frame = write_frame();
    frame.b = ~0ULL; // would overflow
    CHECK_FALSE(decodes(frame));
    frame = write_frame();
    frame.length = 0; // an empty piece of a message that is not empty
    CHECK_FALSE(decodes(frame));
    frame = write_frame();
    frame.a = message_bytes_max + 1;
    CHECK_FALSE(decodes(frame));
    frame = write_frame();
    frame.flags = frame_flag::immediate;
    CHECK_FALSE(decodes(frame));
    frame = {};
    frame.type = frame_type::send;
    frame.flags = frame_flag::immediate | frame_flag::invalidate;
    CHECK_FALSE(decodes(frame));
    frame = {};
    frame.length = 1; // an acknowledgement has no payload
    CHECK_FALSE(decodes(frame));
    frame = {};
    frame.type = frame_type::negative_acknowledge;
    CHECK_FALSE(decodes(frame));
    for (const int type : {0, 11, 255}) {
        frame = {};
        frame.type = static_cast<frame_type>(type);
        CHECK_FALSE(decodes(frame));
    }
}

TEST_CASE("whatever decodes keeps the bounds")
{
    penstock::seeded_random_source random(1);
    int accepted = 0;
    for (int i = 0; i != 200'000; ++i) {
        header_buffer bytes;
        random.fill(bytes);
        bytes[0] = static_cast<std::byte>(i % 12);
        bytes[1] &= std::byte{0x0f};
        // Small numbers, or hardly a length would pass.
        for (const std::size_t at : {6U, 7U, 34U, 35U, 36U, 37U, 38U, 39U, 42U, 43U, 44U, 45U, 46U, 47U})
            bytes[at] = std::byte{};
        frame_header frame;
        if (!decode(bytes, frame))
            continue;
        ++accepted;
        REQUIRE(frame.length <= frame_bytes_max);
        if (frame.length != 0) {
            REQUIRE(frame.a <= message_bytes_max);
            REQUIRE(frame.b + frame.length <= frame.a);
        }
    }
    CHECK(accepted > 1'000);
}

TEST_CASE("sequence numbers wrap")
{
    CHECK(before(1, 2));
    CHECK_FALSE(before(2, 2));
    CHECK(before(0xffffffff, 0));
    CHECK_FALSE(before(0, 0xffffffff));
}
