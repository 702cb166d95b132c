# What the libraries link. Installed beside the package configuration, so that a program that links the static
# libraries finds the same targets under the same names.
find_package(Threads REQUIRED)
find_package(Boost 1.81 REQUIRED CONFIG) # headers only: Asio, System, Endian, ...
find_package(fmt REQUIRED CONFIG)
find_package(spdlog REQUIRED CONFIG)

# These come with pkg-config files only: PkgConfig::verbs, PkgConfig::rdmacm, PkgConfig::isal.
find_package(PkgConfig REQUIRED)
pkg_check_modules(verbs REQUIRED QUIET IMPORTED_TARGET GLOBAL libibverbs)
pkg_check_modules(rdmacm REQUIRED QUIET IMPORTED_TARGET GLOBAL librdmacm)
pkg_check_modules(isal REQUIRED QUIET IMPORTED_TARGET GLOBAL libisal)
