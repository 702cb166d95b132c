#include "scan.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <set>

namespace layers {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 8> layer_names{
    "core", "fabric", "memory", "completion", "connection", "transfer", "rpc", "storage"};
constexpr std::array<std::string_view, 3> provider_names{"verbs", "tcp", "sim"};

constexpr std::size_t header_lines_max = 400;
constexpr std::size_t source_lines_max = 500;

// Where a file stands in the picture.
struct place {
    std::size_t layer = 0; // index into layer_names
    std::string provider;  // of the fabric; empty: the seam, or another layer
};

template <std::size_t Count>
std::optional<std::size_t> index_of(const std::array<std::string_view, Count>& names, std::string_view name)
{
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end())
        return std::nullopt;
    return static_cast<std::size_t>(found - names.begin());
}

// PATH relative to include/penstock or lib: "fabric/tcp/frame.hpp", "fabric/tcp.hpp", "memory/pool.hpp".
std::optional<place> place_of(const fs::path& path)
{
    auto part = path.begin();
    if (part == path.end())
        return std::nullopt;
    const auto layer = index_of(layer_names, part->string());
    if (!layer)
        return std::nullopt;
    place found{*layer, {}};
    if (layer_names[*layer] == "fabric" && ++part != path.end()) {
        const auto name = std::next(part) == path.end() ? part->stem().string() : part->string();
        if (index_of(provider_names, name))
            found.provider = name;
    }
    return found;
}

bool is_under(const fs::path& path, const fs::path& directory)
{
    const auto relative = path.lexically_relative(directory);
    return !relative.empty() && relative.begin()->string() != "..";
}

// What stands for FILE in the picture; nothing for the umbrella header, tools and tests.
std::optional<place> place_of_source(const fs::path& file)
{
    for (const fs::path base : {"include/penstock", "lib"})
        if (is_under(file, base))
            return place_of(file.lexically_relative(base));
    return std::nullopt;
}

// PATH of our own file that an include names, relative to include/penstock or lib; empty if it is not ours.
fs::path own_target(const source& file, const include_directive& include)
{
    const fs::path target = include.target;
    if (is_under(target, "penstock"))
        return target.lexically_relative("penstock");
    if (!include.quoted)
        return {};
    if (place_of(target) && std::distance(target.begin(), target.end()) > 1)
        return target;
    const auto beside = (file.path.parent_path() / target).lexically_normal();
    for (const fs::path base : {"include/penstock", "lib"})
        if (is_under(beside, base))
            return beside.lexically_relative(base);
    return {};
}

void check_own_include(const source& file, const place& from, const include_directive& include, const fs::path& target,
    std::vector<std::string>& violations)
{
    const auto to = place_of(target);
    if (!to) {
        violations.push_back(describe(file, include.line, "\"" + include.target + "\" belongs to no layer"));
        return;
    }
    if (to->layer > from.layer)
        violations.push_back(describe(file, include.line,
            "upward include: " + std::string(layer_names[from.layer]) + " includes "
                + std::string(layer_names[to->layer]) + " (" + include.target + ")"));
    const bool fabric_to_fabric = to->layer == from.layer && layer_names[from.layer] == "fabric";
    if (fabric_to_fabric && !to->provider.empty() && to->provider != from.provider)
        violations.push_back(describe(file, include.line,
            (from.provider.empty() ? "the seam" : "provider " + from.provider) + " includes provider " + to->provider));
}

bool starts_with_any(std::string_view text, std::initializer_list<std::string_view> prefixes)
{
    return std::any_of(prefixes.begin(), prefixes.end(), [&](auto prefix) { return text.starts_with(prefix); });
}

void check_foreign_include(const source& file, const include_directive& include, std::vector<std::string>& violations)
{
    const std::string_view target = include.target;
    const auto refuse = [&](std::string_view reason) {
        violations.push_back(describe(file, include.line, "<" + include.target + ">: " + std::string(reason)));
    };
    if (starts_with_any(target, {"infiniband/", "rdma/"}) && !is_under(file.path, "lib/fabric/verbs"))
        refuse("only lib/fabric/verbs includes the verbs headers");
    if (is_under(file.path, "include")
        && starts_with_any(
            target, {"spdlog/", "fmt/", "infiniband/", "rdma/", "isa-l", "liburing", "nlohmann/", "CLI/"}))
        refuse("not in a public header");
    if (target == "boost/asio.hpp")
        refuse("include the parts of Asio that are used");
    if (starts_with_any(target,
            {"boost/asio/steady_timer", "boost/asio/system_timer", "boost/asio/high_resolution_timer",
                "boost/asio/basic_waitable_timer", "boost/asio/deadline_timer"})
        && !is_under(file.path, "lib/completion"))
        refuse("only the completion poller keeps timers");
}

// A word that takes time or randomness from elsewhere, and the one place that may use it.
struct refused_word {
    std::string_view word;
    bool only_as_call; // "sleep" may name something else
    std::string_view allowed;
    std::string_view reason;
};

constexpr std::string_view clock_reason = "time comes from penstock::clock";
constexpr std::string_view random_reason = "randomness comes from penstock::random_source";
constexpr std::string_view timer_reason = "only the completion poller keeps timers and sleeps";

constexpr refused_word refused_words[]{
    {"clock_gettime", true, "lib/core/clock.cpp", clock_reason},
    {"gettimeofday", true, "lib/core/clock.cpp", clock_reason},
    {"getrandom", true, "lib/core/random.cpp", random_reason},
    {"getentropy", true, "lib/core/random.cpp", random_reason},
    {"random_device", false, "lib/core/random.cpp", random_reason},
    {"rand", true, "lib/core/random.cpp", random_reason},
    {"srand", true, "lib/core/random.cpp", random_reason},
    {"steady_timer", false, "lib/completion", timer_reason},
    {"system_timer", false, "lib/completion", timer_reason},
    {"high_resolution_timer", false, "lib/completion", timer_reason},
    {"basic_waitable_timer", false, "lib/completion", timer_reason},
    {"sleep_for", false, "lib/completion", timer_reason},
    {"sleep_until", false, "lib/completion", timer_reason},
    {"sleep", true, "lib/completion", timer_reason},
    {"usleep", true, "lib/completion", timer_reason},
    {"nanosleep", true, "lib/completion", timer_reason},
    {"clock_nanosleep", true, "lib/completion", timer_reason},
};

constexpr std::array<std::string_view, 7> standard_clocks{
    "steady_clock", "system_clock", "high_resolution_clock", "utc_clock", "tai_clock", "gps_clock", "file_clock"};

// X::now, or X; at the end of an alias, by which now() could be called under another name.
bool takes_time(const std::vector<token>& tokens, std::size_t at)
{
    const auto text = [&](std::size_t i) { return i < tokens.size() ? std::string_view(tokens[i].text) : ""; };
    if (!index_of(standard_clocks, text(at)))
        return false;
    return text(at + 1) == ";" || (text(at + 1) == "::" && text(at + 2) == "now");
}

} // namespace

std::string describe(const source& file, std::size_t line, std::string_view text)
{
    return file.path.generic_string() + ":" + std::to_string(line) + ": " + std::string(text);
}

void check_includes(const source& file, std::vector<std::string>& violations)
{
    const auto from = place_of_source(file.path);
    for (const auto& include : file.includes) {
        const auto target = own_target(file, include);
        if (target.empty())
            check_foreign_include(file, include, violations);
        else if (from)
            check_own_include(file, *from, include, target, violations);
    }
    if (!from && is_under(file.path, "lib"))
        violations.push_back(describe(file, 1, "belongs to no layer"));
}

void check_tokens(const source& file, std::vector<std::string>& violations)
{
    const auto is_or_under
        = [&](std::string_view allowed) { return file.path == allowed || is_under(file.path, allowed); };
    const auto& tokens = file.tokens;
    for (std::size_t i = 0; i != tokens.size(); ++i) {
        if (takes_time(tokens, i) && !is_or_under("lib/core/clock.cpp"))
            violations.push_back(
                describe(file, tokens[i].line, "std::chrono::" + tokens[i].text + ": " + std::string(clock_reason)));
        for (const auto& refused : refused_words) {
            if (tokens[i].text != refused.word || is_or_under(refused.allowed))
                continue;
            if (refused.only_as_call && (i + 1 == tokens.size() || tokens[i + 1].text != "("))
                continue;
            violations.push_back(describe(file, tokens[i].line, tokens[i].text + ": " + std::string(refused.reason)));
        }
    }
}

tree_report check_tree(const fs::path& root)
{
    std::set<fs::path> files; // sorted: the same order of violations everywhere
    for (const auto* area : {"include", "lib", "tools", "tests", "examples", "benchmarks"})
        if (fs::exists(root / area))
            for (const auto& entry : fs::recursive_directory_iterator(root / area))
                if (entry.is_regular_file()
                    && (entry.path().extension() == ".hpp" || entry.path().extension() == ".cpp"))
                    files.insert(entry.path().lexically_relative(root));

    tree_report report;
    for (const auto& path : files) {
        const auto file = read_source(root, path);
        ++report.file_count;
        const auto lines_max = path.extension() == ".hpp" ? header_lines_max : source_lines_max;
        if (file.line_count > lines_max)
            report.violations.push_back(
                describe(file, file.line_count, "longer than " + std::to_string(lines_max) + " lines"));
        if (is_under(path, "include") || is_under(path, "lib") || is_under(path, "tools/penstock")) {
            check_includes(file, report.violations);
            check_tokens(file, report.violations);
        }
    }
    return report;
}

} // namespace layers
