# find_package(penstock CONFIG) then penstock::penstock and penstock::storage.
include(CMakePackageConfigHelpers)

set(package_directory "${CMAKE_INSTALL_LIBDIR}/cmake/penstock")
get_property(products GLOBAL PROPERTY PENSTOCK_PRODUCTS)

install(TARGETS ${products} EXPORT penstock-targets)
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/penstock" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
        FILES_MATCHING PATTERN "*.hpp")
install(EXPORT penstock-targets NAMESPACE penstock:: DESTINATION "${package_directory}")

write_basic_package_version_file("${PROJECT_BINARY_DIR}/penstock-config-version.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_SOURCE_DIR}/cmake/penstock-config.cmake" "${PROJECT_SOURCE_DIR}/cmake/PenstockDependencies.cmake"
              "${PROJECT_BINARY_DIR}/penstock-config-version.cmake" DESTINATION "${package_directory}")
