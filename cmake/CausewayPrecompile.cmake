# Headers that nearly every file includes, compiled once: about a third of the time of a whole build. Off by default
# where a compiler cache is set, which does the same better and copes badly with precompiled headers.
if(CMAKE_CXX_COMPILER_LAUNCHER)
  option(CW_PRECOMPILE "Precompile the common headers" OFF)
else()
  option(CW_PRECOMPILE "Precompile the common headers" ON)
endif()

# Every source includes what it uses all the same: tools/check-headers compiles each header without these.
set(CW_COMMON_HEADERS <algorithm> <array> <atomic> <bit> <chrono> <cstdint> <cstring> <functional> <map> <memory> <mutex>
    <optional> <span> <string> <string_view> <thread> <type_traits> <utility> <vector> <fmt/format.h>
    ${CMAKE_SOURCE_DIR}/src/base/result.h ${CMAKE_SOURCE_DIR}/src/base/types.h)
set(CW_TEST_HEADERS ${CW_COMMON_HEADERS} <gtest/gtest.h> <gmock/gmock.h> <random> <set>)

# A precompiled header serves only those who are compiled like the target it was made for.
if(CW_PRECOMPILE)
  file(WRITE ${CMAKE_BINARY_DIR}/precompiled/room.cc "")
  file(WRITE ${CMAKE_BINARY_DIR}/precompiled/test.cc "int main() {}\n")
  add_library(precompiled_room STATIC EXCLUDE_FROM_ALL ${CMAKE_BINARY_DIR}/precompiled/room.cc)
  target_link_libraries(precompiled_room PRIVATE causeway_compile)
  target_precompile_headers(precompiled_room PRIVATE ${CW_COMMON_HEADERS})
  if(CW_BUILD_TESTS)
    add_executable(precompiled_test EXCLUDE_FROM_ALL ${CMAKE_BINARY_DIR}/precompiled/test.cc)
    target_link_libraries(precompiled_test PRIVATE causeway_compile GTest::gtest GTest::gmock)
    target_precompile_headers(precompiled_test PRIVATE ${CW_TEST_HEADERS})
  endif()
endif()

# causeway_precompile(TARGET room|test)
function(causeway_precompile target kind)
  if(TARGET precompiled_${kind})
    target_precompile_headers(${target} REUSE_FROM precompiled_${kind})
  endif()
endfunction()
