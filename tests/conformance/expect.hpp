#pragma once

// How a case says what it expects. A case that is disappointed throws `mismatch`; the suite prints it and goes on.

#include <penstock/fabric/device.hpp>

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace penstock::conformance {

/// The caller's place, as std::source_location: clang 14 has none.
class where {
public:
    static constexpr where current(const char* file = __builtin_FILE(), int line = __builtin_LINE()) noexcept
    {
        return {file, line};
    }
    constexpr const char* file_name() const noexcept { return file_; }
    constexpr int line() const noexcept { return line_; }

private:
    constexpr where(const char* file, int line) noexcept
        : file_(file)
        , line_(line)
    {}

    const char* file_;
    int line_;
};

class mismatch : public std::runtime_error {
public:
    mismatch(const std::string& text, const where& place);
};

std::string describe(fabric::completion_opcode value);
std::string describe(fabric::queue_pair_state value);
std::string describe(fabric::connection_event_type value);
std::string describe(completion_status value);
std::string describe(const error_code& value);
std::string describe(errc value);
std::string describe(const fabric::work_completion& value);
inline std::string describe(bool value)
{
    return value ? "true" : "false";
}
inline std::string describe(std::string_view value)
{
    return std::string(value);
}

template <class T>
requires requires(std::ostream& out, const T& value)
{
    out << value;
}
std::string describe(const T& value)
{
    std::ostringstream out;
    out << value;
    return out.str();
}

[[noreturn]] void fail(const std::string& text, const where& place = where::current());
/// "what: expected wanted, seen seen".
[[noreturn]] void disappoint(std::string_view what, std::string_view wanted, std::string_view seen, const where& place);

inline void expect(bool condition, std::string_view what, const where& place = where::current())
{
    if (!condition)
        disappoint("condition", what, "the opposite", place);
}

template <class Seen, class Wanted>
void expect_equal(std::string_view what, const Seen& seen, const Wanted& wanted, const where& place = where::current())
{
    if (!(seen == wanted))
        disappoint(what, describe(wanted), describe(seen), place);
}

/// An error code that equals `wanted`, whatever else its category is.
void expect_error(std::string_view what, const error_code& seen, errc wanted, const where& place = where::current());

inline void expect_success(std::string_view what, const error_code& seen, const where& place = where::current())
{
    if (seen)
        disappoint(what, "success", describe(seen), place);
}

template <class T>
T take(std::string_view what, result<T> value, const where& place = where::current())
{
    if (!value)
        disappoint(what, "success", describe(value.error()), place);
    return std::move(*value);
}

template <class T>
void expect_refused(std::string_view what, const result<T>& value, errc wanted, const where& place = where::current())
{
    expect_error(what, value ? error_code{} : value.error(), wanted, place);
}

} // namespace penstock::conformance
