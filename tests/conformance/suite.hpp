#pragma once

// The table of cases. A case is a name and a function, and takes what it needs: two connected ends, a world to make
// its own ends in, or, when it forks before anything is opened, only the target.

#include "conformance/end.hpp"

#include <span>
#include <string_view>
#include <variant>

namespace penstock::conformance {

class conformance_case {
public:
    using with_ends = void (*)(linked&);
    using with_world = void (*)(world&);
    using with_target = void (*)(const target&);

    constexpr conformance_case(std::string_view name, with_ends body)
        : name_(name)
        , body_(body)
    {}
    constexpr conformance_case(std::string_view name, with_world body)
        : name_(name)
        , body_(body)
    {}
    constexpr conformance_case(std::string_view name, with_target body)
        : name_(name)
        , body_(body)
    {}

    constexpr std::string_view name() const noexcept { return name_; }

    /// Throws what the case was disappointed by.
    void run(const target& on) const;

private:
    std::string_view name_; ///< topic/case
    std::variant<with_ends, with_world, with_target> body_;
};

using case_table = std::span<const conformance_case>;

case_table send_cases();
case_table one_sided_cases();
case_table atomic_cases();
case_table ordering_cases();
case_table queue_cases();
case_table completion_queue_cases();
case_table access_cases();
case_table window_cases();
case_table revocation_cases();
case_table receive_cases();
case_table shared_receive_cases();
case_table flush_cases();
case_table connection_cases();
case_table handshake_cases();
case_table teardown_cases();
case_table thread_cases();
case_table mix_cases();

/// All of them, in the order above.
std::vector<conformance_case> all_cases();

} // namespace penstock::conformance
