#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace layers {

/// One #include directive.
struct include_directive {
    std::size_t line = 0;
    std::string target;  ///< what stands between the quotes or brackets
    bool quoted = false; ///< "..." rather than <...>
};

/// A word of the program text, or a single character of punctuation ("::" is one token).
struct token {
    std::size_t line = 0;
    std::string text;
};

/// A source file without comments, literals and directives.
struct source {
    std::filesystem::path path; ///< relative to the root
    std::size_t line_count = 0;
    std::vector<include_directive> includes;
    std::vector<token> tokens;
};

source read_source(const std::filesystem::path& root, const std::filesystem::path& relative_path);

/// The violations of the include rules, one line of text each.
void check_includes(const source& file, std::vector<std::string>& violations);

/// The violations of the rules on time, randomness and sleeping.
void check_tokens(const source& file, std::vector<std::string>& violations);

struct tree_report {
    std::size_t file_count = 0;
    std::vector<std::string> violations;
};

/// Every C++ file of the tree.
tree_report check_tree(const std::filesystem::path& root);

/// Writes trees with one violation each into a temporary directory; false, with the reason printed, if one goes unnoticed.
bool self_test();

/// "path:line: text".
std::string describe(const source& file, std::size_t line, std::string_view text);

} // namespace layers
