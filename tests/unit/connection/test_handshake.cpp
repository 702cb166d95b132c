#include "connection/handshake.hpp"
#include "connection/handshake_wire.hpp"
#include "support/catch.hpp"

#include <initializer_list>
#include <string>
#include <vector>

using namespace penstock;
using namespace penstock::connection;

namespace {

using bytes = std::vector<std::byte>;

bytes raw(std::initializer_list<unsigned> values)
{
    bytes made;
    for (const auto value : values) {
        made.push_back(static_cast<std::byte>(value));
    }
    return made;
}

identifier counted_from(unsigned first)
{
    identifier id;
    for (auto& each : id.bytes) {
        each = static_cast<std::byte>(first++);
    }
    return id;
}

template <class Message>
bytes encoded(const Message& message)
{
    bytes made(control_bytes_max);
    made.resize(encode(message, made));
    return made;
}

bytes encoded(const ticket& admission)
{
    bytes made(ticket_bytes);
    encode(admission, std::span<std::byte, ticket_bytes>(made));
    return made;
}

ticket sample_ticket()
{
    return {0x0102'0304'0506'0708U, 0x1112'1314U, 0x2122U, counted_from(0x40)};
}

hello sample_hello()
{
    return {true, transport_choice::tcp, 0x0102U, counted_from(0x10)};
}

welcome sample_welcome()
{
    return {fabric::transport::tcp, 0x40, 0x1d2f, 0x0010'0000, sample_ticket(), counted_from(0x60), "ok"};
}

const bytes golden_hello = raw({0x50, 0x53, 0x43, 0x4d, 1, 1, 0, 0, // prefix
    1, 2, 0, 0, 0x02, 0x01, 0, 0,                                   // verbs, wants tcp, depth
    0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f});

const bytes golden_welcome = raw({0x50, 0x53, 0x43, 0x4d, 1, 2, 0, 0, // prefix
    1, 2, 0x2f, 0x1d, 0x40, 0, 0, 0,                                  // tcp, reason's length, port, depth
    0, 0, 0x10, 0, 0, 0, 0, 0,                                        // longest transfer
    8, 7, 6, 5, 4, 3, 2, 1, 0x14, 0x13, 0x12, 0x11, 0x22, 0x21, 0, 0, // ticket
    0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f, // secret
    0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f, // instance
    'o', 'k'});

const bytes golden_ticket = raw({0x50, 0x53, 0x43, 0x54, 1, 0, 0, 0,  // prefix
    8, 7, 6, 5, 4, 3, 2, 1, 0x14, 0x13, 0x12, 0x11, 0x22, 0x21, 0, 0, // connection, epoch, lane
    0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f});

bool re_encodes_to(const control_message& decoded, const bytes& message)
{
    switch (decoded.type) {
    case control_type::hello: return encoded(decoded.opening) == message;
    case control_type::welcome: return encoded(decoded.answer) == message;
    case control_type::refused: return encoded(refused{decoded.why}) == message;
    case control_type::revoke:
    case control_type::released: return encoded(decoded.note) == message;
    }
    return false;
}

server_handshake::offer offer_of(transport_choice allows, bool verbs)
{
    server_handshake::offer made;
    made.allows = allows;
    made.has_verbs = verbs;
    made.verbs_reason = "no RDMA device on this machine";
    made.tcp_port = 1001;
    made.verbs_port = verbs ? 1002 : 0;
    made.depth = 16;
    made.transfer_bytes_max = 1U << 20U;
    made.instance = counted_from(0x80);
    return made;
}

hello hello_of(transport_choice wants, bool verbs, std::uint32_t depth = 8)
{
    return {verbs, wants, depth, counted_from(1)};
}

} // namespace

TEST_CASE("each control message is exactly these bytes")
{
    CHECK(encoded(sample_hello()) == golden_hello);
    CHECK(encoded(sample_welcome()) == golden_welcome);
    CHECK(encoded(refused{errc::overloaded}) == raw({0x50, 0x53, 0x43, 0x4d, 1, 3, 0, 0, 0x3a, 1, 0, 0}));
    CHECK(encoded(sample_ticket()) == golden_ticket);
    CHECK(encoded(control_note{control_kind::released, golden_ticket}).size() == 8 + ticket_bytes);
    CHECK(encoded(control_note{control_kind::revoke, std::span(golden_ticket).first(1)})
        == raw({0x50, 0x53, 0x43, 0x4d, 1, 16, 0, 0, 0x50}));
    CHECK(encoded(control_note{control_kind::released, {}}) == raw({0x50, 0x53, 0x43, 0x4d, 1, 17, 0, 0}));
    bytes greeting_bytes(control_greeting_bytes);
    encode_control_greeting(std::span<std::byte, control_greeting_bytes>(greeting_bytes));
    CHECK(greeting_bytes == raw({0x50, 0x53, 0x43, 0x47, 1, 0, 0, 0}));
}

TEST_CASE("what is encoded comes back equal")
{
    CHECK(decode_control(golden_hello).value().opening == sample_hello());
    CHECK(decode_control(golden_welcome).value().answer == sample_welcome());
    CHECK(decode_ticket(golden_ticket).value() == sample_ticket());
}

TEST_CASE("every truncation and every excess of a control message is refused")
{
    for (const auto& whole : {golden_hello, golden_welcome, encoded(refused{errc::too_many_connections})}) {
        for (std::size_t length = 0; length != whole.size(); ++length) {
            const bytes part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
            CHECK_FALSE(decode_control(part).has_value());
        }
        auto longer = whole;
        longer.push_back(std::byte{});
        CHECK(decode_control(longer).error() == errc::malformed_message);
    }
    for (std::size_t length = 0; length != golden_ticket.size(); ++length) {
        CHECK_FALSE(decode_ticket(std::span(golden_ticket).first(length)).has_value());
    }
}

TEST_CASE("every flipped bit is refused, or is what a sender could have meant")
{
    for (const auto& whole : {golden_hello, golden_welcome, encoded(refused{errc::overloaded})}) {
        for (std::size_t bit = 0; bit != whole.size() * 8; ++bit) {
            auto flipped = whole;
            flipped[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
            const auto decoded = decode_control(flipped);
            INFO("bit " << bit);
            CHECK((!decoded || re_encodes_to(*decoded, flipped)));
            if (bit < 64) {
                CHECK_FALSE(
                    (decoded && decoded->type == decode_control(whole)->type)); // nothing in the prefix is spare
            }
        }
    }
}

TEST_CASE("lengths and codes beyond their range are refused")
{
    auto longer_reason = golden_welcome;
    longer_reason[9] = std::byte{255};
    CHECK(decode_control(longer_reason).error() == errc::malformed_message);
    auto unprintable = golden_welcome;
    unprintable.back() = std::byte{0x1b};
    CHECK(decode_control(unprintable).error() == errc::malformed_message);
    auto unknown_transport = golden_welcome;
    unknown_transport[8] = std::byte{2};
    CHECK(decode_control(unknown_transport).error() == errc::malformed_message);
    auto no_depth = golden_hello;
    no_depth[12] = no_depth[13] = std::byte{};
    CHECK(decode_control(no_depth).error() == errc::malformed_message);
    CHECK(decode_control(encoded(refused{errc::connection_lost})).error() == errc::malformed_message);
    CHECK(decode_control(bytes(control_bytes_max)).error() == errc::bad_magic);
    auto note = encoded(control_note{control_kind::revoke, bytes(control_payload_max)});
    CHECK(decode_control(note).value().note.payload.size() == control_payload_max);
    note.push_back(std::byte{});
    CHECK(decode_control(note).error() == errc::malformed_message);
    auto newer = golden_hello;
    newer[4] = std::byte{2};
    CHECK(decode_control(newer).error() == errc::unsupported_version);
    auto wordy = sample_welcome();
    wordy.reason.assign(1'000, 'x');
    CHECK(encoded(wordy).size() <= control_bytes_max);
    CHECK(decode_control(encoded(wordy)).value().answer.reason.size() == reason_bytes_max);
}

TEST_CASE("private data is told apart, padded with zeros or not")
{
    auto control = raw({0x50, 0x53, 0x43, 0x47, 1, 0, 0, 0});
    auto data = golden_ticket;
    CHECK(classify(control) == greeting::control);
    CHECK(classify(data) == greeting::data);
    control.resize(56);
    data.resize(56);
    CHECK(classify(control) == greeting::control);
    CHECK(decode_ticket(data).value() == sample_ticket());
    control.back() = data.back() = std::byte{1};
    CHECK(classify(control) == greeting::none);
    CHECK(decode_ticket(data).error() == errc::malformed_message);
    CHECK(classify({}) == greeting::none);
    CHECK(classify(raw({'G', 'E', 'T', ' ', '/', ' ', 'H', 'T'})) == greeting::none);
    auto newer = raw({0x50, 0x53, 0x43, 0x47, 2, 0, 0, 0});
    CHECK(classify(newer) == greeting::none);
}

TEST_CASE("the transport follows from both sides' choice and devices, with its reason")
{
    using enum transport_choice;
    const auto expected = [](transport_choice wants, bool client, transport_choice allows, bool server) -> std::string {
        const bool verbs_required = wants == verbs || allows == verbs;
        const bool tcp_required = wants == tcp || allows == tcp;
        if (verbs_required) {
            return client && server && !tcp_required ? "both sides have an RDMA device" : "refused";
        }
        if (wants == tcp) {
            return "the client asked for tcp";
        }
        if (allows == tcp) {
            return "the server allows tcp only";
        }
        if (!server) {
            return "at the server: no RDMA device on this machine";
        }
        return client ? "both sides have an RDMA device" : "the client has no RDMA device";
    };
    for (const auto wants : {automatic, verbs, tcp}) {
        for (const auto allows : {automatic, verbs, tcp}) {
            for (const bool client : {false, true}) {
                for (const bool server : {false, true}) {
                    INFO(to_string(wants) << client << ' ' << to_string(allows) << server);
                    server_handshake shake(offer_of(allows, server), sample_ticket());
                    const auto done = shake.on_message(encoded(hello_of(wants, client)));
                    const auto reason = expected(wants, client, allows, server);
                    if (reason == "refused") {
                        CHECK(done == server_handshake::action::send_refused);
                        CHECK(shake.error() == errc::remote_refused_feature);
                        CHECK_FALSE(shake.admits(sample_ticket()));
                        continue;
                    }
                    REQUIRE(done == server_handshake::action::send_welcome);
                    CHECK(shake.answer().reason == reason);
                    const bool by_verbs = reason == "both sides have an RDMA device";
                    CHECK(shake.answer().transport == (by_verbs ? fabric::transport::verbs : fabric::transport::tcp));
                    CHECK(shake.answer().data_port == (by_verbs ? 1002 : 1001));
                    CHECK(shake.answer().depth == 8);
                    client_handshake other(hello_of(wants, client));
                    CHECK(other.on_message(encoded(shake.answer())) == client_handshake::action::open_data_lane);
                    CHECK(other.answer() == shake.answer());
                }
            }
        }
    }
}

TEST_CASE("depth is the least of what both want and the protocol's most")
{
    auto offered = offer_of(transport_choice::tcp, false);
    offered.depth = 1'000'000;
    server_handshake shake(offered, sample_ticket());
    (void)shake.on_message(encoded(hello_of(transport_choice::automatic, false, 0xffff'ffffU)));
    CHECK(shake.answer().depth == depth_max);
}

TEST_CASE("a reason of any text is made fit to send")
{
    auto offered = offer_of(transport_choice::automatic, false);
    offered.verbs_reason = "caf\xc3\xa9\n" + std::string(400, 'x');
    server_handshake shake(offered, sample_ticket());
    REQUIRE(shake.on_message(encoded(hello_of(transport_choice::automatic, false)))
        == server_handshake::action::send_welcome);
    CHECK(decode_control(encoded(shake.answer())).value().answer == shake.answer());
}

TEST_CASE("the server admits its ticket and no other, once it has answered")
{
    server_handshake shake(offer_of(transport_choice::tcp, false), sample_ticket());
    CHECK_FALSE(shake.admits(sample_ticket()));
    (void)shake.on_message(encoded(hello_of(transport_choice::automatic, false)));
    CHECK(shake.admits(sample_ticket()));
    for (std::size_t bit = 64; bit != ticket_bytes * 8; ++bit) {
        auto flipped = golden_ticket;
        flipped[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
        const auto presented = decode_ticket(flipped);
        CHECK_FALSE((presented && shake.admits(*presented)));
    }
    SECTION("not after the lane is there")
    {
        shake.on_established();
        CHECK_FALSE(shake.admits(sample_ticket()));
    }
    SECTION("not after the protocol was broken")
    {
        CHECK(shake.on_message(golden_hello) == server_handshake::action::fail);
        CHECK(shake.error() == errc::unexpected_message);
        CHECK_FALSE(shake.admits(sample_ticket()));
    }
}

TEST_CASE("the server takes a hello first and nothing else")
{
    for (const auto& wrong : {golden_welcome, encoded(refused{errc::overloaded}), bytes{}, golden_ticket}) {
        server_handshake shake(offer_of(transport_choice::tcp, false), sample_ticket());
        CHECK(shake.on_message(wrong) == server_handshake::action::fail);
        CHECK(shake.error().failed());
        CHECK(shake.on_message(golden_hello) == server_handshake::action::fail); // no second chance
    }
}

TEST_CASE("the client takes one answer, and tells what it was refused with")
{
    client_handshake shake(hello_of(transport_choice::automatic, false, 0x40));
    SECTION("each refusal comes through")
    {
        const auto why = GENERATE(
            errc::remote_refused_feature, errc::too_many_connections, errc::overloaded, errc::unsupported_version);
        CHECK(shake.on_message(encoded(refused{why})) == client_handshake::action::fail);
        CHECK(shake.error() == why);
        CHECK(shake.on_message(golden_welcome) == client_handshake::action::fail);
    }
    SECTION("a hello is no answer")
    {
        CHECK(shake.on_message(golden_hello) == client_handshake::action::fail);
        CHECK(shake.error() == errc::unexpected_message);
    }
    SECTION("a second welcome is one too many")
    {
        CHECK(shake.on_message(golden_welcome) == client_handshake::action::open_data_lane);
        CHECK(shake.on_message(golden_welcome) == client_handshake::action::fail);
        CHECK(shake.error() == errc::unexpected_message);
    }
}

TEST_CASE("the client refuses a welcome that it did not ask for")
{
    auto answer = sample_welcome();
    auto asked = hello_of(transport_choice::automatic, false, 0x40);
    auto why = make_error_code(errc::malformed_message);
    SECTION("deeper than wanted")
    {
        answer.depth = 0x41;
    }
    SECTION("no depth")
    {
        answer.depth = 0;
    }
    SECTION("no port")
    {
        answer.data_port = 0;
    }
    SECTION("nothing to transfer")
    {
        answer.transfer_bytes_max = 0;
    }
    SECTION("verbs to a client without a device")
    {
        answer.transport = fabric::transport::verbs;
    }
    SECTION("verbs to a client that asked for tcp")
    {
        asked = hello_of(transport_choice::tcp, true, 0x40);
        answer.transport = fabric::transport::verbs;
        why = errc::remote_refused_feature;
    }
    SECTION("tcp to a client that asked for verbs")
    {
        asked = hello_of(transport_choice::verbs, true, 0x40);
        why = errc::remote_refused_feature;
    }
    client_handshake shake(asked);
    CHECK(shake.on_message(encoded(answer)) == client_handshake::action::fail);
    CHECK(shake.error() == why);
}
