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

    writer& put(const ticket& admission) noexcept
    {
        return put(admission.connection)
            .put(admission.epoch)
            .put(admission.lane)
            .put(std::uint16_t{0})
            .put(admission.secret);
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

    ticket get_ticket() noexcept
    {
        ticket admission;
        admission.connection = get<std::uint64_t>();
        admission.epoch = get<std::uint32_t>();
        admission.lane = get<std::uint16_t>();
        must_be_zero<std::uint16_t>();
        admission.secret = get_identifier();
        return admission;
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

error_code check_prefix(reader& in, std::uint32_t magic, std::uint8_t& type) noexcept
{
    const bool ours = in.get<std::uint32_t>() == magic;
    const auto version = in.get<std::uint8_t>();
    type = in.get<std::uint8_t>();
    in.must_be_zero<std::uint16_t>();
    if (!ours) {
        return errc::bad_magic;
    }
    if (version != protocol_version) {
        return errc::unsupported_version;
    }
    return in.failed() ? make_error_code(errc::malformed_message) : error_code{};
}

} // namespace

std::size_t encode(const hello& message, std::span<std::byte> into) noexcept
{
    writer out(into);
    out.prefix(magic_message, static_cast<std::uint8_t>(control_type::hello))
        .put(static_cast<std::uint8_t>(message.has_verbs ? 1 : 0))
        .put(static_cast<std::uint8_t>(message.wants))
        .put(std::uint16_t{0})
        .put(message.depth)
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
        .put(message.admission)
        .put(message.instance)
        .put_bytes(reason);
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

void encode(const ticket& admission, std::span<std::byte, ticket_bytes> into) noexcept
{
    writer(into).prefix(magic_ticket, 0).put(admission);
}

void encode_control_greeting(std::span<std::byte, control_greeting_bytes> into) noexcept
{
    writer(into).prefix(magic_greeting, 0);
}

greeting classify(std::span<const std::byte> private_data) noexcept
{
    reader in(private_data);
    const auto magic = in.get<std::uint32_t>();
    if (magic == magic_ticket) {
        return greeting::data;
    }
    std::uint8_t type = 0;
    in = reader(private_data);
    const bool greets = !check_prefix(in, magic_greeting, type).failed() && type == 0 && all_zero(in.rest());
    return greets ? greeting::control : greeting::none;
}

result<ticket> decode_ticket(std::span<const std::byte> private_data) noexcept
{
    reader in(private_data);
    std::uint8_t type = 0;
    if (const auto error = check_prefix(in, magic_ticket, type); error.failed()) {
        return error;
    }
    const ticket admission = in.get_ticket();
    if (in.failed() || type != 0 || !all_zero(in.rest())) {
        return make_error_code(errc::malformed_message);
    }
    return admission;
}

result<control_message> decode_control(std::span<const std::byte> message)
{
    reader in(message);
    std::uint8_t type = 0;
    if (const auto error = check_prefix(in, magic_message, type); error.failed()) {
        return error;
    }
    control_message decoded;
    decoded.type = static_cast<control_type>(type);
    switch (decoded.type) {
    case control_type::hello: {
        const auto has_verbs = in.get<std::uint8_t>();
        const auto wants = in.get<std::uint8_t>();
        in.must_be_zero<std::uint16_t>();
        decoded.opening.has_verbs = has_verbs == 1;
        decoded.opening.wants = static_cast<transport_choice>(wants);
        decoded.opening.depth = in.get<std::uint32_t>();
        decoded.opening.instance = in.get_identifier();
        if (has_verbs > 1 || wants > static_cast<std::uint8_t>(transport_choice::tcp) || decoded.opening.depth == 0) {
            return make_error_code(errc::malformed_message);
        }
        break;
    }
    case control_type::welcome: {
        const auto transport = in.get<std::uint8_t>();
        const auto reason_bytes = in.get<std::uint8_t>();
        decoded.answer.transport = static_cast<fabric::transport>(transport);
        decoded.answer.data_port = in.get<std::uint16_t>();
        decoded.answer.depth = in.get<std::uint32_t>();
        decoded.answer.transfer_bytes_max = in.get<std::uint64_t>();
        decoded.answer.admission = in.get_ticket();
        decoded.answer.instance = in.get_identifier();
        const auto reason = in.take(reason_bytes);
        if (transport > static_cast<std::uint8_t>(fabric::transport::tcp) || !printable(reason)) {
            return make_error_code(errc::malformed_message);
        }
        decoded.answer.reason.assign(reinterpret_cast<const char*>(reason.data()), reason.size());
        break;
    }
    case control_type::refused:
        decoded.why = make_error_code(static_cast<errc>(in.get<std::uint32_t>()));
        if (!is_refusal(decoded.why)) {
            return make_error_code(errc::malformed_message);
        }
        break;
    case control_type::revoke:
    case control_type::released:
        decoded.note.kind = decoded.type == control_type::revoke ? control_kind::revoke : control_kind::released;
        decoded.note.payload = in.take(in.rest().size());
        if (decoded.note.payload.size() > control_payload_max) {
            return make_error_code(errc::malformed_message);
        }
        break;
    default: return make_error_code(errc::malformed_message);
    }
    if (!in.complete()) {
        return make_error_code(errc::malformed_message);
    }
    return decoded;
}

} // namespace penstock::connection
