#pragma once

// A directory that lives as long as a test, and what tests do to it behind the store's back.

#include "storage/file_store.hpp"

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace penstock::storage::test {

class file_tree {
public:
    file_tree();
    file_tree(const file_tree&) = delete;
    file_tree& operator=(const file_tree&) = delete;
    ~file_tree();

    const std::string& path() const { return path_; }
    std::string path(std::string_view name) const { return path_ + '/' + std::string(name); }

    void write(std::string_view name, std::string_view content) const; ///< parents must exist
    void make_directory(std::string_view name) const;                  ///< with parents
    void link(std::string_view name, const std::string& target) const; ///< symbolic
    std::string read(std::string_view name) const;
    bool exists(std::string_view name) const;
    std::size_t staged_files() const; ///< what lies in the staging directory

private:
    std::string path_;
};

std::unique_ptr<file_store> open_store(const file_tree& tree);

std::span<const std::byte> bytes(std::string_view text);

/// The whole object through the store; fails the test when it cannot be read.
std::string content(const file_store& store, std::string_view name);

/// What `run` returns in a child process, which ends without destructors, as in a crash. Empty when it threw or died.
std::string in_child(const std::function<std::string()>& run);

/// The same for what ends early: `run` gets a function that says its word and ends the child on the spot.
using last_word = std::function<void(const std::string&)>;
std::string in_child(const std::function<std::string(const last_word&)>& run);

/// Gives up root's rights for good: in a child only. Without them already it does nothing.
void become_nobody();

} // namespace penstock::storage::test
