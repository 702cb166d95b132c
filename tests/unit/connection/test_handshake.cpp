#include "handshake_samples.hpp"
#include "support/catch.hpp"

using namespace penstock;
using namespace penstock::connection;
using namespace penstock::test;

TEST_CASE("each control message is exactly these bytes")
{
    CHECK(encoded(sample_hello()) == golden_hello);
    CHECK(encoded(sample_welcome()) == golden_welcome);
    CHECK(encoded(refused{errc::overloaded}) == raw({0x50, 0x53, 0x43, 0x4d, 2, 3, 0, 0, 0x3a, 1, 0, 0}));
    CHECK(encoded(sample_ticket()) == golden_ticket);
    CHECK(encoded(lane_request{3}) == raw({0x50, 0x53, 0x43, 0x4d, 2, 4, 0, 0, 3, 0, 0, 0}));
    CHECK(encoded(lane_grant{3, counted_from(0x40)}) == golden_grant);
    CHECK(encoded(lane_denied{3}) == raw({0x50, 0x53, 0x43, 0x4d, 2, 6, 0, 0, 3, 0, 0, 0}));
    CHECK(encoded(ping{}) == raw({0x50, 0x53, 0x43, 0x4d, 2, 7, 0, 0}));
    CHECK(encoded(pong{}) == raw({0x50, 0x53, 0x43, 0x4d, 2, 8, 0, 0}));
    CHECK(encoded(goodbye{}) == raw({0x50, 0x53, 0x43, 0x4d, 2, 9, 0, 0}));
    CHECK(encoded(control_note{control_kind::released, golden_ticket}).size() == 8 + ticket_bytes);
    CHECK(encoded(control_note{control_kind::revoke, std::span(golden_ticket).first(1)})
        == raw({0x50, 0x53, 0x43, 0x4d, 2, 16, 0, 0, 0x50}));
    CHECK(encoded(control_note{control_kind::released, {}}) == raw({0x50, 0x53, 0x43, 0x4d, 2, 17, 0, 0}));
    bytes greeting_bytes(control_greeting_bytes);
    encode_control_greeting(std::span<std::byte, control_greeting_bytes>(greeting_bytes));
    CHECK(greeting_bytes == raw({0x50, 0x53, 0x43, 0x47, 2, 0, 0, 0}));
}

TEST_CASE("what is encoded comes back equal")
{
    CHECK(decode_control(golden_hello).value().opening == sample_hello());
    CHECK(decode_control(golden_welcome).value().answer == sample_welcome());
    CHECK(decode_ticket(golden_ticket).value() == sample_ticket());
}

TEST_CASE("every truncation and every excess of a control message is refused")
{
    for (const auto& whole : {golden_hello, golden_welcome, golden_grant, encoded(lane_request{1}),
             encoded(refused{errc::too_many_connections}), encoded(ping{})}) {
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
    for (const auto& whole :
        {golden_hello, golden_welcome, golden_grant, encoded(refused{errc::overloaded}), encoded(ping{})}) {
        for (std::size_t bit = 0; bit != whole.size() * 8; ++bit) {
            auto flipped = whole;
            flipped[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
            const auto decoded = decode_control(flipped);
            INFO("bit " << bit);
            CHECK((!decoded || bit / 8 == 4 || whole.size() == 12 || re_encodes_to(*decoded, flipped)
                || lowest(bit, whole)));
            if (bit < 64 && bit / 8 != 4) { // the version apart, nothing in the prefix is spare
                CHECK_FALSE((decoded && decoded->type == decode_control(whole)->type));
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
    for (const std::size_t at : {10U, 20U, 21U}) { // no lanes, epoch 0
        auto none = golden_hello;
        none[at] = std::byte{};
        none[20] = at >= 20 ? std::byte{} : none[20];
        none[21] = at >= 20 ? std::byte{} : none[21];
        CHECK(decode_control(none).error() == errc::malformed_message);
    }
    auto many = golden_hello;
    many[10] = std::byte{lanes_max + 1};
    CHECK(decode_control(many).error() == errc::malformed_message);
    many = golden_welcome;
    many[56] = std::byte{lanes_max + 1};
    CHECK(decode_control(many).error() == errc::malformed_message);
    many[56] = std::byte{};
    CHECK(decode_control(many).error() == errc::malformed_message);
    auto far = encoded(lane_request{});
    far[8] = std::byte{lanes_max};
    CHECK(decode_control(far).error() == errc::malformed_message);
    auto wordy = sample_welcome();
    wordy.reason.assign(1'000, 'x');
    CHECK(encoded(wordy).size() <= control_bytes_max);
    CHECK(decode_control(encoded(wordy)).value().answer.reason.size() == reason_bytes_max);
}

TEST_CASE(
    "versions: a later hello is read if this one is spoken too, an earlier one is not, and a refusal is always read")
{
    auto later = golden_hello;
    later[4] = std::byte{3};
    later.resize(later.size() + 9, std::byte{0x77});
    CHECK(decode_control(later).value().opening == sample_hello());
    later[11] = std::byte{3};
    CHECK(decode_control(later).error() == errc::unsupported_version);
    auto earlier = golden_hello;
    earlier[4] = earlier[11] = std::byte{1};
    CHECK(decode_control(earlier).error() == errc::unsupported_version);
    auto welcome_of_another = golden_welcome;
    welcome_of_another[4] = std::byte{3};
    CHECK(decode_control(welcome_of_another).error() == errc::unsupported_version);
    auto refusal = encoded(refused{errc::unsupported_version});
    refusal[4] = std::byte{7};
    CHECK(decode_control(refusal).value().why == errc::unsupported_version);
    auto shake = shaking(offer_of(transport_choice::tcp, false));
    CHECK(shake.on_message(later) == server_handshake::action::send_refused);
    CHECK(shake.error() == errc::unsupported_version);
    CHECK(shake.on_message(golden_hello) == server_handshake::action::fail);
}

TEST_CASE("lanes and features are the part that both sides have")
{
    auto opening = hello_of(transport_choice::automatic, false);
    opening.lanes = 5;
    opening.features = 0xffff'ffffU;
    opening.epoch = 9;
    auto shake = shaking(offer_of(transport_choice::automatic, false));
    REQUIRE(shake.on_message(encoded(opening)) == server_handshake::action::send_welcome);
    CHECK(shake.answer().lanes == 2);
    CHECK(shake.answer().features == feature_recovery);
    CHECK(shake.answer().epoch == 9);
    client_handshake other(opening);
    CHECK(other.on_message(encoded(shake.answer())) == client_handshake::action::open_data_lanes);
    CHECK(other.answer() == shake.answer());
}

TEST_CASE("a hello names its client")
{
    auto opening = hello_of(transport_choice::automatic, false);
    CHECK(decode_control(encoded(opening)).has_value());
    opening.instance = {};
    CHECK(decode_control(encoded(opening)).error() == errc::malformed_message);
}

TEST_CASE("each lane has a ticket of its own, good once")
{
    auto opening = hello_of(transport_choice::automatic, false);
    opening.lanes = 2;
    auto shake = shaking(offer_of(transport_choice::automatic, false));
    (void)shake.on_message(encoded(opening));
    const auto first = shake.answer().admission(0);
    const auto second = shake.answer().admission(1);
    auto crossed = first;
    crossed.lane = 1;
    CHECK(shake.admits(first));
    CHECK(shake.admits(second));
    CHECK_FALSE(shake.admits(crossed));
    CHECK_FALSE(shake.on_lane(1));
    CHECK_FALSE(shake.admits(second));
    CHECK(shake.admits(first));
    CHECK(shake.on_lane(0));
    CHECK_FALSE(shake.admits(first));
    CHECK_FALSE(shake.on_established());
    CHECK(shake.on_established());
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
    auto newer = raw({0x50, 0x53, 0x43, 0x47, 3, 0, 0, 0});
    CHECK(classify(newer) == greeting::control); // its hello says what it speaks
    newer[4] = std::byte{};
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
                    auto shake = shaking(offer_of(allows, server));
                    const auto done = shake.on_message(encoded(hello_of(wants, client)));
                    const auto reason = expected(wants, client, allows, server);
                    if (reason == "refused") {
                        CHECK(done == server_handshake::action::send_refused);
                        CHECK(shake.error() == errc::remote_refused_feature);
                        CHECK_FALSE(shake.admits(shake.answer().admission(0)));
                        continue;
                    }
                    REQUIRE(done == server_handshake::action::send_welcome);
                    CHECK(shake.answer().reason == reason);
                    const bool by_verbs = reason == "both sides have an RDMA device";
                    CHECK(shake.answer().transport == (by_verbs ? fabric::transport::verbs : fabric::transport::tcp));
                    CHECK(shake.answer().data_port == (by_verbs ? 1002 : 1001));
                    CHECK(shake.answer().depth == 8);
                    client_handshake other(hello_of(wants, client));
                    CHECK(other.on_message(encoded(shake.answer())) == client_handshake::action::open_data_lanes);
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
    auto shake = shaking(offered);
    (void)shake.on_message(encoded(hello_of(transport_choice::automatic, false, 0xffff'ffffU)));
    CHECK(shake.answer().depth == depth_max);
}

TEST_CASE("a reason of any text is made fit to send")
{
    auto offered = offer_of(transport_choice::automatic, false);
    offered.verbs_reason = "caf\xc3\xa9\n" + std::string(400, 'x');
    auto shake = shaking(offered);
    REQUIRE(shake.on_message(encoded(hello_of(transport_choice::automatic, false)))
        == server_handshake::action::send_welcome);
    CHECK(decode_control(encoded(shake.answer())).value().answer == shake.answer());
}

TEST_CASE("the server admits its ticket and no other, once it has answered")
{
    auto shake = shaking(offer_of(transport_choice::tcp, false));
    CHECK_FALSE(shake.admits(shake.answer().admission(0)));
    (void)shake.on_message(encoded(hello_of(transport_choice::automatic, false)));
    const auto given = encoded(shake.answer().admission(0));
    CHECK(shake.admits(decode_ticket(given).value()));
    for (std::size_t bit = 64; bit != ticket_bytes * 8; ++bit) {
        auto flipped = given;
        flipped[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
        const auto presented = decode_ticket(flipped);
        CHECK_FALSE((presented && shake.admits(*presented)));
    }
    SECTION("not after the lane is there")
    {
        CHECK(shake.on_lane(0));
        CHECK(shake.on_established());
        CHECK_FALSE(shake.admits(shake.answer().admission(0)));
    }
    SECTION("not after the protocol was broken")
    {
        CHECK(shake.on_message(golden_hello) == server_handshake::action::fail);
        CHECK(shake.error() == errc::unexpected_message);
        CHECK_FALSE(shake.admits(shake.answer().admission(0)));
    }
}

TEST_CASE("the server takes a hello first and nothing else")
{
    for (const auto& wrong : {golden_welcome, encoded(refused{errc::overloaded}), bytes{}, golden_ticket}) {
        auto shake = shaking(offer_of(transport_choice::tcp, false));
        CHECK(shake.on_message(wrong) == server_handshake::action::fail);
        CHECK(shake.error().failed());
        CHECK(shake.on_message(golden_hello) == server_handshake::action::fail); // no second chance
    }
}

TEST_CASE("the client takes one answer, and tells what it was refused with")
{
    client_handshake shake(sample_hello());
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
        CHECK(shake.on_message(golden_welcome) == client_handshake::action::open_data_lanes);
        CHECK(shake.on_message(golden_welcome) == client_handshake::action::fail);
        CHECK(shake.error() == errc::unexpected_message);
    }
}

TEST_CASE("the client refuses a welcome that it did not ask for")
{
    auto answer = sample_welcome();
    auto asked = hello_of(transport_choice::automatic, false, 0x40);
    answer.lanes = 1;
    answer.features = 0;
    answer.epoch = 1;
    auto why = make_error_code(errc::malformed_message);
    SECTION("deeper than wanted")
    {
        answer.depth = 0x41;
    }
    SECTION("no depth")
    {
        answer.depth = 0;
    }
    SECTION("more lanes than wanted")
    {
        answer.lanes = 2;
    }
    SECTION("a feature that was not asked for")
    {
        answer.features = feature_recovery;
    }
    SECTION("of another attempt")
    {
        answer.epoch = 2;
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
