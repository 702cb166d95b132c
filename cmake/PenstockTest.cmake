find_package(Catch2 REQUIRED CONFIG)

# penstock_test(NAME SOURCES file... [LIBRARIES target...] [LABELS label...] [ARGS argument...] [TIMEOUT seconds]
#               [NO_MAIN] [NO_RUN] [RUN_SERIAL])
#
# A Catch2 program and one ctest of the same name. It links penstock::penstock, includes private headers as the layers do,
# and its own from tests/ ("support/catch.hpp"). NO_MAIN: the sources bring their own main(). NO_RUN: no ctest yet,
# penstock_test_run() adds them.
function(penstock_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "NO_MAIN;NO_RUN;RUN_SERIAL" "TIMEOUT" "SOURCES;LIBRARIES;LABELS;ARGS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "penstock_test(${name}): unknown arguments ${arg_UNPARSED_ARGUMENTS}")
  endif()
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE penstock_test_build penstock::penstock ${arg_LIBRARIES})
  if(NOT arg_NO_MAIN)
    target_link_libraries(${name} PRIVATE penstock_test_main)
  endif()
  if(TARGET penstock_test_pch)
    target_precompile_headers(${name} REUSE_FROM penstock_test_pch)
  endif()
  if(NOT arg_NO_RUN)
    if(arg_RUN_SERIAL)
      set(serial RUN_SERIAL)
    endif()
    penstock_test_run(${name} ${name} ${serial} LABELS ${arg_LABELS} ARGS ${arg_ARGS} TIMEOUT ${arg_TIMEOUT})
  endif()
endfunction()

# penstock_test_run(NAME TARGET [LABELS label...] [ARGS argument...] [TIMEOUT seconds] [RUN_SERIAL])
#
# One more ctest of the same program: the conformance suite on another provider, for example. LABELS: unit (the default),
# conformance, fault, integration, ...; softroce means that it runs inside the SoftRoCE guest only. RUN_SERIAL: never
# beside another test, because it measures.
function(penstock_test_run name target)
  cmake_parse_arguments(PARSE_ARGV 2 arg "RUN_SERIAL" "TIMEOUT" "LABELS;ARGS")
  if(NOT arg_LABELS)
    set(arg_LABELS unit)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  get_target_property(libraries ${target} LINK_LIBRARIES)
  if("penstock_test_main" IN_LIST libraries)
    list(PREPEND arg_ARGS -w NoTests) # a filter that matches nothing fails
  endif()
  add_test(NAME ${name} COMMAND ${target} ${arg_ARGS})
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT}
                                              RUN_SERIAL ${arg_RUN_SERIAL})
endfunction()
