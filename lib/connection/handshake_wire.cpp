#include "handshake_wire.hpp"
#include "handshake.hpp"

#include <boost/endian/conversion.hpp>

#include <algorithm>
#include <cstring>

namespace penstock::connection {
namespace {

constexpr std::uint32_t magic_message = 0x4d43'5350U;  // "PSCM"
constexpr std::uint32_t magic_greeting = 0x4743'5350U; // "PSCG"
constexpr std::uint32_t magic_ticket = 0x5443'5350U;   // "PSCT"

// Writes into a span that is known to be large enough.
class writer {
public:
    explicit writer(std::span<std::byte> into) noexcept
        : into_(into)
    {}

    template <class Integer>
    writer& put(Integer value) noexcept
    {
        boost::endian::native_to_little_inplace(value);
        std::memcpy(into_.data() + used_, &value, sizeof value);
        used_ += sizeof value;
        return *this;
    }

    writer& put(const identifier& id) noexcept { return put_bytes(id.bytes); }

    writer& put_bytes(std::span<const std::byte> bytes) noexcept
    {
        std::copy(bytes.begin(), bytes.end(), into_.begin() + static_cast<std::ptrdiff_t>(used_));
        used_ += bytes.size();
        return *this;
    }

    writer& prefix(std::uint32_t magic, std::uint8_t type) noexcept
    {
        return put(magic).put(protocol_version).put(type).put(std::uint16_t{0});
    }

    std::size_t used() const noexcept { return used_; }

private:
    std::span<std::byte> into_;
    std::size_t used_ = 0;
};

// Reads what may be too short: then every value is zero and `failed` stays set.
class reader {
public:
    explicit reader(std::span<const std::byte> from) noexcept
        : from_(from)
    {}

    template <class Integer>
    Integer get() noexcept
    {
        Integer value{};
        const auto bytes = take(sizeof value);
        if (!failed_) {
            std::memcpy(&value, bytes.data(), sizeof value);
        }
        return boost::endian::little_to_native(value);
    }

    identifier get_identifier() noexcept
    {
        identifier id;
        const auto bytes = take(id.bytes.size());
        std::copy(bytes.begin(), bytes.end(), id.bytes.begin());
        return id;
    }

    template <class Integer>
    void must_be_zero() noexcept
    {
        failed_ = get<Integer>() != 0 || failed_;
    }

    std::span<const std::byte> take(std::size_t count) noexcept
    {
        if (count > from_.size()) {
            failed_ = true;
            return {};
        }
        const auto taken = from_.first(count);
        from_ = from_.subspan(count);
        return taken;
    }

    std::span<const std::byte> rest() const noexcept { return from_; }
    bool failed() const noexcept { return failed_; }
    bool complete() const noexcept { return !failed_ && from_.empty(); }

private:
    std::span<const std::byte> from_;
    bool failed_ = false;
};

bool all_zero(std::span<const std::byte> bytes) noexcept
{
    return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{}; });
}

bool printable(std::span<const std::byte> bytes) noexcept
{
    return std::all_of(
        bytes.begin(), bytes.end(), [](std::byte b) { return b >= std::byte{0x20} && b < std::byte{0x7f}; });
}

struct prefix {
    std::uint8_t version = 0;
    std::uint8_t type = 0;
};

// Of any version.
result<prefix> get_prefix(reader& in, std::uint32_t magic) noexcept
{
    prefix found;
    const bool ours = in.get<std::uint32_t>() == magic;
    found.version = in.get<std::uint8_t>();
    found.type = in.get<std::uint8_t>();
    in.must_be_zero<std::uint16_t>();
    if (!ours) {
        return make_error_code(errc::bad_magic);
    }
    if (in.failed()) {
        return make_error_code(errc::malformed_message);
    }
    return found;
}

std::size_t put_plain(std::span<std::byte> into, control_type type) noexcept
{
    return writer(into).prefix(magic_message, static_cast<std::uint8_t>(type)).used();
}

std::size_t put_lane(std::span<std::byte> into, control_type type, std::uint16_t lane) noexcept
{
    return writer(into).prefix(magic_message, static_cast<std::uint8_t>(type)).put(lane).put(std::uint16_t{0}).used();
}

} // namespace

std::size_t encode(const hello& message, std::span<std::byte> into) noexcept
{
    writer out(into);
    out.prefix(magic_message, static_cast<std::uint8_t>(control_type::hello))
        .put(static_cast<std::uint8_t>(message.has_verbs ? 1 : 0))
        .put(static_cast<std::uint8_t>(message.wants))
        .put(message.lanes)
        .put(protocol_version) // the lowest that is spoken
        .put(message.depth)
        .put(message.features)
        .put(message.epoch)
        .put(message.instance);
    return out.used();
}

std::size_t encode(const welcome& message, std::span<std::byte> into) noexcept
{
    const auto reason
        = std::as_bytes(std::span(message.reason)).first(std::min(message.reason.size(), reason_bytes_max));
    writer out(into);
    out.prefix(magic_message, static_cast<std::uint8_t>(control_type::welcome))
        .put(static_cast<std::uint8_t>(message.transport))
        .put(static_cast<std::uint8_t>(reason.size()))
        .put(message.data_port)
        .put(message.depth)
        .put(message.transfer_bytes_max)
        .put(message.features)
        .put(message.epoch)
        .put(message.connection)
        .put(message.instance)
        .put(message.lanes)
        .put(std::uint8_t{0})
        .put(std::uint16_t{0})
        .put(std::uint32_t{0});
    for (const auto& secret : std::span(message.secrets).first(message.lanes)) {
        out.put(secret);
    }
    out.put_bytes(reason);
    return out.used();
}

std::size_t encode(const refused& message, std::span<std::byte> into) noexcept
{
    writer out(into);
    out.prefix(magic_message, static_cast<std::uint8_t>(control_type::refused))
        .put(static_cast<std::uint32_t>(message.why.value()));
    return out.used();
}

std::size_t encode(const control_note& message, std::span<std::byte> into) noexcept
{
    const auto type = static_cast<std::uint8_t>(control_type::revoke) + static_cast<std::uint8_t>(message.kind);
    writer out(into);
    out.prefix(magic_message, static_cast<std::uint8_t>(type)).put_bytes(message.payload);
    return out.used();
}

std::size_t encode(const lane_request& message, std::span<std::byte> into) noexcept
{
    return put_lane(into, control_type::lane_request, message.lane);
}

std::size_t encode(const lane_grant& message, std::span<std::byte> into) noexcept
{
    const auto head = put_lane(into, control_type::lane_grant, message.lane);
    return head + writer(into.subspan(head)).put(message.secret).used();
}

std::size_t encode(const lane_denied& message, std::span<std::byte> into) noexcept
{
    return put_lane(into, control_type::lane_denied, message.lane);
}

std::size_t encode(const ping&, std::span<std::byte> into) noexcept
{
    return put_plain(into, control_type::ping);
}

std::size_t encode(const pong&, std::span<std::byte> into) noexcept
{
    return put_plain(into, control_type::pong);
}

std::size_t encode(const goodbye&, std::span<std::byte> into) noexcept
{
    return put_plain(into, control_type::goodbye);
}

void encode(const ticket& admission, std::span<std::byte, ticket_bytes> into) noexcept
{
    writer(into)
        .prefix(magic_ticket, 0)
        .put(admission.connection)
        .put(admission.epoch)
        .put(admission.lane)
        .put(std::uint16_t{0})
        .put(admission.secret);
}

void encode_control_greeting(std::span<std::byte, control_greeting_bytes> into) noexcept
{
    writer(into).prefix(magic_greeting, 0);
}

greeting classify(std::span<const std::byte> private_data) noexcept
{
    reader in(private_data);
    if (in.get<std::uint32_t>() == magic_ticket) {
        return greeting::data;
    }
    in = reader(private_data);
    const auto head = get_prefix(in, magic_greeting); // any version: the hello says which are spoken
    return head && head->version != 0 && head->type == 0 && all_zero(in.rest()) ? greeting::control : greeting::none;
}

result<ticket> decode_ticket(std::span<const std::byte> private_data) noexcept
{
    reader in(private_data);
    const auto head = get_prefix(in, magic_ticket);
    if (!head) {
        return head.error();
    }
    if (head->version != protocol_version) {
        return make_error_code(errc::unsupported_version);
    }
    ticket admission;
    admission.connection = in.get<std::uint64_t>();
    admission.epoch = in.get<std::uint32_t>();
    admission.lane = in.get<std::uint16_t>();
    in.must_be_zero<std::uint16_t>();
    admission.secret = in.get_identifier();
    if (in.failed() || head->type != 0 || !all_zero(in.rest())) {
        return make_error_code(errc::malformed_message);
    }
    return admission;
}

namespace {

// Returns whether it is within its bounds; whether it was complete is the reader's to know.
bool get_hello(reader& in, std::uint8_t version, hello& into, bool& spoken) noexcept
{
    const auto has_verbs = in.get<std::uint8_t>();
    const auto wants = in.get<std::uint8_t>();
    into.lanes = in.get<std::uint8_t>();
    const auto lowest = in.get<std::uint8_t>();
    spoken = version >= protocol_version && lowest <= protocol_version;
    into.has_verbs = has_verbs == 1;
    into.wants = static_cast<transport_choice>(wants);
    into.depth = in.get<std::uint32_t>();
    into.features = in.get<std::uint32_t>();
    into.epoch = in.get<std::uint32_t>();
    into.instance = in.get_identifier();
    if (version > protocol_version) {
        (void)in.take(in.rest().size()); // what later versions add
    }
    return has_verbs <= 1 && wants <= static_cast<std::uint8_t>(transport_choice::tcp) && into.lanes != 0
        && into.lanes <= lanes_max && lowest <= version && into.depth != 0 && into.epoch != 0 && into.instance;
}

bool get_welcome(reader& in, welcome& into)
{
    const auto transport = in.get<std::uint8_t>();
    const auto reason_bytes = in.get<std::uint8_t>();
    into.transport = static_cast<fabric::transport>(transport);
    into.data_port = in.get<std::uint16_t>();
    into.depth = in.get<std::uint32_t>();
    into.transfer_bytes_max = in.get<std::uint64_t>();
    into.features = in.get<std::uint32_t>();
    into.epoch = in.get<std::uint32_t>();
    into.connection = in.get<std::uint64_t>();
    into.instance = in.get_identifier();
    into.lanes = in.get<std::uint8_t>();
    in.must_be_zero<std::uint8_t>();
    in.must_be_zero<std::uint16_t>();
    in.must_be_zero<std::uint32_t>();
    if (transport > static_cast<std::uint8_t>(fabric::transport::tcp) || into.lanes == 0 || into.lanes > lanes_max) {
        return false;
    }
    for (auto& secret : std::span(into.secrets).first(into.lanes)) {
        secret = in.get_identifier();
    }
    const auto reason = in.take(reason_bytes);
    into.reason.assign(reinterpret_cast<const char*>(reason.data()), reason.size());
    return printable(reason);
}

} // namespace

result<control_message> decode_control(std::span<const std::byte> message)
{
    reader in(message);
    const auto head = get_prefix(in, magic_message);
    if (!head) {
        return head.error();
    }
    control_message decoded;
    decoded.type = static_cast<control_type>(head->type);
    bool spoken = head->version == protocol_version;
    bool valid = true;
    switch (decoded.type) {
    case control_type::hello: valid = get_hello(in, head->version, decoded.opening, spoken); break;
    case control_type::refused:
        decoded.why = make_error_code(static_cast<errc>(in.get<std::uint32_t>()));
        spoken = head->version != 0; // of any version, so that a client learns that none is in common
        valid = is_refusal(decoded.why);
        break;
    case control_type::welcome: valid = spoken && get_welcome(in, decoded.answer); break;
    case control_type::lane_request:
    case control_type::lane_denied:
    case control_type::lane_grant:
        decoded.lane = in.get<std::uint16_t>();
        in.must_be_zero<std::uint16_t>();
        if (decoded.type == control_type::lane_grant) {
            decoded.secret = in.get_identifier();
        }
        valid = decoded.lane < lanes_max;
        break;
    case control_type::ping:
    case control_type::pong:
    case control_type::goodbye: break;
    case control_type::revoke:
    case control_type::released:
        decoded.note.kind = decoded.type == control_type::revoke ? control_kind::revoke : control_kind::released;
        decoded.note.payload = in.take(in.rest().size());
        valid = decoded.note.payload.size() <= control_payload_max;
        break;
    default: valid = false; break;
    }
    if (!spoken) {
        return make_error_code(errc::unsupported_version);
    }
    if (!valid || !in.complete()) {
        return make_error_code(errc::malformed_message);
    }
    return decoded;
}

} // namespace penstock::connection
