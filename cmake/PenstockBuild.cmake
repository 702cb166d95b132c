# penstock_build: how everything in this tree is compiled. Never exported.

set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")

if(PENSTOCK_SANITIZE)
  add_compile_options(-fsanitize=${PENSTOCK_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${PENSTOCK_SANITIZE})
endif()

add_library(penstock_build INTERFACE)
target_compile_features(penstock_build INTERFACE cxx_std_20)
target_compile_options(penstock_build INTERFACE -Wall -Wextra -Wpedantic -Wconversion)
if(PENSTOCK_WERROR)
  target_compile_options(penstock_build INTERFACE -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND PENSTOCK_SANITIZE)
  # GCC 12 sees uninitialised values in the standard library once code is instrumented, and says that it cannot
  # instrument the fences in Asio's own headers.
  target_compile_options(penstock_build INTERFACE -Wno-maybe-uninitialized -Wno-tsan)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # False alarms in inlined std::string concatenation: https://gcc.gnu.org/bugzilla/show_bug.cgi?id=105651
  target_compile_options(penstock_build INTERFACE -Wno-restrict)
endif()
target_compile_definitions(penstock_build INTERFACE BOOST_ASIO_NO_DEPRECATED)
target_include_directories(penstock_build INTERFACE "${PROJECT_SOURCE_DIR}/include")
# Private headers are named from lib/ ("fabric/tcp/frame.hpp"). Quoted form only: lib/memory must not hide <memory>.
target_compile_options(penstock_build INTERFACE "SHELL:-iquote ${PROJECT_SOURCE_DIR}/lib")
target_link_libraries(penstock_build INTERFACE Boost::headers Threads::Threads)

if(PENSTOCK_PCH)
  add_library(penstock_pch OBJECT "${PROJECT_SOURCE_DIR}/cmake/precompiled.cpp")
  set_target_properties(penstock_pch PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(penstock_pch PRIVATE penstock_build)
  target_precompile_headers(penstock_pch PRIVATE "${PROJECT_SOURCE_DIR}/cmake/precompiled.hpp")
endif()
