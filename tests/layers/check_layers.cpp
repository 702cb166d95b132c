// Reads the sources and refuses what the design forbids: an include that points up, a device header outside its
// provider, a clock or a random number taken behind the simulator's back, a file that has grown too long.
//
//     check_layers ROOT        every violation on a line of its own; exit status 1 if there is one
//     check_layers --self-test proves on small trees that each kind is found

#include "scan.hpp"

#include <iostream>
#include <string_view>

int main(int argc, char** argv)
{
    if (argc == 2 && std::string_view(argv[1]) == "--self-test")
        return layers::self_test() ? 0 : 1;
    if (argc != 2) {
        std::cerr << "usage: check_layers ROOT | --self-test\n";
        return 2;
    }
    const auto report = layers::check_tree(argv[1]);
    for (const auto& violation : report.violations)
        std::cerr << violation << '\n';
    // An empty tree is a wrong ROOT, not a clean one.
    if (report.file_count == 0) {
        std::cerr << "no source found under " << argv[1] << '\n';
        return 1;
    }
    std::cout << report.file_count << " files, " << report.violations.size() << " violations\n";
    return report.violations.empty() ? 0 : 1;
}
