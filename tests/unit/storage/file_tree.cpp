#include "file_tree.hpp"

#include "support/catch.hpp"

#include <filesystem>
#include <fstream>
#include <grp.h>
#include <iterator>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace penstock::storage::test {

namespace fs = std::filesystem;

file_tree::file_tree()
    : path_((fs::temp_directory_path() / "penstock-XXXXXX").string())
{
    if (::mkdtemp(path_.data()) == nullptr)
        throw std::runtime_error("mkdtemp " + path_);
    ::chmod(path_.c_str(), 0755);
}

file_tree::~file_tree()
{
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

void file_tree::write(std::string_view name, std::string_view content) const
{
    std::ofstream file(path(name), std::ios::binary | std::ios::trunc);
    file << content;
    if (!file.flush())
        throw std::runtime_error("write " + path(name));
}

void file_tree::make_directory(std::string_view name) const
{
    fs::create_directories(path(name));
}

void file_tree::link(std::string_view name, const std::string& target) const
{
    fs::create_symlink(target, path(name));
}

std::string file_tree::read(std::string_view name) const
{
    std::ifstream file(path(name), std::ios::binary);
    if (!file)
        throw std::runtime_error("read " + path(name));
    return {std::istreambuf_iterator<char>(file), {}};
}

bool file_tree::exists(std::string_view name) const
{
    return fs::exists(fs::symlink_status(path(name)));
}

std::size_t file_tree::staged_files() const
{
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(path(".penstock-staging")), fs::directory_iterator()));
}

std::unique_ptr<file_store> open_store(const file_tree& tree)
{
    auto store = file_store::open(tree.path());
    if (!store)
        throw system_error(store.error());
    return std::move(*store);
}

std::span<const std::byte> bytes(std::string_view text)
{
    return std::as_bytes(std::span(text));
}

std::string content(const file_store& store, std::string_view name)
{
    const auto file = store.open_read(name);
    CAPTURE(name);
    REQUIRE(file.has_value());
    std::string text(file->info.size + 1, '\0');
    const auto got = read_at(file->fd.get(), 0, std::as_writable_bytes(std::span(text)));
    REQUIRE(got.has_value());
    text.resize(*got);
    return text;
}

std::string in_child(const std::function<std::string()>& run)
{
    return in_child([&](const last_word&) { return run(); });
}

std::string in_child(const std::function<std::string(const last_word&)>& run)
{
    int ends[2];
    if (::pipe(ends) != 0)
        throw std::runtime_error("pipe");
    const auto child = ::fork();
    if (child < 0)
        throw std::runtime_error("fork");
    if (child == 0) {
        const auto end = [&](const std::string& said) {
            const auto sent = ::write(ends[1], said.data(), said.size()); // below a pipe's 4 KiB: at once
            ::_exit(sent == static_cast<ssize_t>(said.size()) ? 0 : 1);
        };
        try {
            end(run(end));
        } catch (const std::exception& failure) {
            end(std::string("threw: ") + failure.what());
        }
    }
    ::close(ends[1]);
    std::string said;
    char part[512];
    for (ssize_t got = 0; (got = ::read(ends[0], part, sizeof part)) > 0;)
        said.append(part, static_cast<std::size_t>(got));
    ::close(ends[0]);
    int status = 0;
    if (::waitpid(child, &status, 0) != child || status != 0)
        throw std::runtime_error("the child died: " + std::to_string(status));
    return said;
}

void become_nobody()
{
    constexpr unsigned nobody = 65'534;
    if (::geteuid() != 0)
        return;
    if (::setgroups(0, nullptr) != 0 || ::setresgid(nobody, nobody, nobody) != 0
        || ::setresuid(nobody, nobody, nobody) != 0)
        throw std::runtime_error("cannot give up root's rights");
}

} // namespace penstock::storage::test
