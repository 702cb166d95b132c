#include "scan.hpp"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace layers {
namespace {

bool is_word(char character)
{
    return std::isalnum(static_cast<unsigned char>(character)) || character == '_';
}

// Walks once over the text. Knows comments, strings (raw ones too), character literals and digit separators, which is all
// that can hide or fake an identifier.
class scanner {
public:
    scanner(std::string text, source& out)
        : text_(std::move(text))
        , out_(out)
    {}

    void run()
    {
        while (at_ < text_.size()) {
            const char character = text_[at_];
            if (character == '\n') {
                ++line_;
                ++at_;
                line_start_ = true;
            } else if (std::isspace(static_cast<unsigned char>(character)) || character == '\\') {
                ++at_;
            } else if (starts_with("//")) {
                skip_to('\n');
            } else if (starts_with("/*")) {
                skip_past("*/");
            } else if (character == '#' && line_start_) {
                directive();
            } else {
                line_start_ = false;
                program_text(character);
            }
        }
    }

private:
    bool starts_with(std::string_view what) const { return std::string_view(text_).substr(at_).starts_with(what); }

    void advance_to(std::size_t end)
    {
        end = std::min(end, text_.size());
        line_ += static_cast<std::size_t>(std::count(
            text_.begin() + static_cast<std::ptrdiff_t>(at_), text_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
        at_ = end;
    }

    void skip_to(char character) { advance_to(text_.find(character, at_)); }

    void skip_past(std::string_view what)
    {
        const auto found = text_.find(what, at_ + 2);
        advance_to(found == std::string::npos ? found : found + what.size());
    }

    // #include is recorded. Of every other directive only the word is skipped: a macro's body is program text.
    void directive()
    {
        line_start_ = false;
        ++at_;
        while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t'))
            ++at_;
        const auto word = take_word();
        if (word != "include")
            return;
        const auto open = text_.find_first_of("<\"\n", at_);
        if (open == std::string::npos || text_[open] == '\n')
            return;
        const char close_character = text_[open] == '<' ? '>' : '"';
        const auto close = text_.find(close_character, open + 1);
        if (close == std::string::npos)
            return;
        out_.includes.push_back({line_, text_.substr(open + 1, close - open - 1), close_character == '"'});
        advance_to(close + 1);
    }

    std::string take_word()
    {
        const auto begin = at_;
        while (at_ < text_.size() && is_word(text_[at_]))
            ++at_;
        return text_.substr(begin, at_ - begin);
    }

    void program_text(char character)
    {
        if (std::isdigit(static_cast<unsigned char>(character))) {
            while (at_ < text_.size() && (is_word(text_[at_]) || text_[at_] == '\'' || text_[at_] == '.'))
                ++at_;
        } else if (is_word(character)) {
            const auto word = take_word();
            if (at_ < text_.size() && text_[at_] == '"' && word.ends_with('R'))
                raw_string();
            else
                out_.tokens.push_back({line_, word});
        } else if (character == '"' || character == '\'') {
            literal(character);
        } else {
            const std::size_t length = starts_with("::") ? 2 : 1;
            out_.tokens.push_back({line_, text_.substr(at_, length)});
            at_ += length;
        }
    }

    void literal(char quote)
    {
        ++at_;
        while (at_ < text_.size() && text_[at_] != quote && text_[at_] != '\n')
            at_ += text_[at_] == '\\' ? 2 : 1;
        if (at_ < text_.size() && text_[at_] == quote)
            ++at_;
    }

    void raw_string()
    {
        const auto open = text_.find('(', at_);
        if (open == std::string::npos)
            return;
        const auto end_mark = ")" + text_.substr(at_ + 1, open - at_ - 1) + "\"";
        const auto found = text_.find(end_mark, open);
        advance_to(found == std::string::npos ? found : found + end_mark.size());
    }

    std::string text_;
    source& out_;
    std::size_t at_ = 0;
    std::size_t line_ = 1;
    bool line_start_ = true;
};

} // namespace

source read_source(const std::filesystem::path& root, const std::filesystem::path& relative_path)
{
    std::ifstream file(root / relative_path, std::ios::binary);
    if (!file)
        throw std::runtime_error("cannot read " + (root / relative_path).string());
    std::string text{std::istreambuf_iterator<char>(file), {}};
    source out;
    out.path = relative_path;
    out.line_count = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
    scanner(std::move(text), out).run();
    return out;
}

} // namespace layers
