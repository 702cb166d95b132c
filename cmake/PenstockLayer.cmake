# penstock_layer(NAME SOURCES file... [LIBRARIES target...])
#
# One layer, or one provider of the fabric (fabric_tcp): the object target penstock_NAME. LIBRARIES are what only its
# .cpp files use; no public header may include them. A layer without sources makes no target.
function(penstock_layer name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBRARIES")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "penstock_layer(${name}): unknown arguments ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT arg_SOURCES)
    return()
  endif()
  add_library(penstock_${name} OBJECT ${arg_SOURCES})
  set_target_properties(penstock_${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(penstock_${name} PRIVATE penstock_build ${arg_LIBRARIES})
  if(TARGET penstock_pch)
    target_precompile_headers(penstock_${name} REUSE_FROM penstock_pch)
  endif()
  if(name STREQUAL "storage")
    set(product penstock_storage_library)
  else()
    set(product penstock)
  endif()
  set_property(GLOBAL APPEND PROPERTY PENSTOCK_OBJECTS_${product} penstock_${name})
  set_property(GLOBAL APPEND PROPERTY PENSTOCK_LIBRARIES_${product} ${arg_LIBRARIES})
endfunction()

# penstock_product(TARGET EXPORTED_NAME [LINK target...])
#
# A library made of the layers above it in the file, exported as penstock::EXPORTED_NAME.
function(penstock_product target exported_name)
  cmake_parse_arguments(PARSE_ARGV 2 arg "" "" "LINK")
  get_property(objects GLOBAL PROPERTY PENSTOCK_OBJECTS_${target})
  get_property(libraries GLOBAL PROPERTY PENSTOCK_LIBRARIES_${target})
  if(NOT objects)
    return()
  endif()
  list(REMOVE_DUPLICATES libraries)
  add_library(${target})
  add_library(penstock::${exported_name} ALIAS ${target})
  foreach(object IN LISTS objects)
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${object}>)
  endforeach()
  target_link_libraries(
    ${target}
    PUBLIC Boost::headers Threads::Threads ${arg_LINK}
    PRIVATE ${libraries})
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_compile_definitions(${target} PUBLIC BOOST_ASIO_NO_DEPRECATED)
  target_include_directories(
    ${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                     $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  set_target_properties(
    ${target}
    PROPERTIES EXPORT_NAME ${exported_name}
               LINKER_LANGUAGE CXX
               VERSION ${PROJECT_VERSION}
               SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
  set_property(GLOBAL APPEND PROPERTY PENSTOCK_PRODUCTS ${target})
endfunction()
