include("${CMAKE_CURRENT_LIST_DIR}/PenstockDependencies.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/penstock-targets.cmake")
