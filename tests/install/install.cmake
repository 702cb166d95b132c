# Installs BUILD into PREFIX, afresh. The copy must not need the directory it was built in.
file(REMOVE_RECURSE "${PREFIX}")
execute_process(COMMAND "${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${PREFIX}" COMMAND_ERROR_IS_FATAL ANY)

file(GLOB_RECURSE package "${PREFIX}/*.cmake")
if(NOT package)
  message(FATAL_ERROR "${PREFIX}: no package configuration was installed")
endif()
foreach(file IN LISTS package)
  file(STRINGS "${file}" leaks REGEX "${BUILD}")
  if(leaks)
    message(FATAL_ERROR "${file} names the build directory: ${leaks}")
  endif()
endforeach()
