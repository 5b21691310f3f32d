# causeway_room(NAME [PRELOAD FILE] [DEPENDS room...] [LIBRARIES target...] [TEST_DEPENDS room...] [TEST_LIBRARIES target...])
#
# Makes the library causeway_NAME from src/NAME/**/*.cc, the test program NAME_test from *_test.cc
# (one ctest entry per test case) and the benchmark program NAME_bench from *_bench.cc.
# PRELOAD makes it FILE.so, for LD_PRELOAD: it links libc alone, whatever the build's other flags are.
# A file called *_main.cc is a program's main() and is left to the room's CMakeLists.txt.
# A dependency on a room that is not lower in CW_ROOMS stops the configuration; tests obey the same
# rule, because a test lives in the room it tests.
function(_causeway_check_order name)
  list(FIND CW_ROOMS ${name} own)
  foreach(dep IN LISTS ARGN)
    list(FIND CW_ROOMS ${dep} index)
    if(index EQUAL -1 OR NOT index LESS own)
      message(FATAL_ERROR "room ${name} may not use room ${dep}: it is not lower in CW_ROOMS")
    endif()
  endforeach()
endfunction()

function(causeway_room name)
  cmake_parse_arguments(ARG "" "PRELOAD" "DEPENDS;LIBRARIES;TEST_DEPENDS;TEST_LIBRARIES" ${ARGN})
  _causeway_check_order(${name} ${ARG_DEPENDS} ${ARG_TEST_DEPENDS})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  set(tests ${sources})
  set(benches ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(FILTER benches INCLUDE REGEX "_bench\\.cc$")
  list(FILTER sources EXCLUDE REGEX "_(test|bench|main|fuzz)\\.cc$")

  list(TRANSFORM ARG_DEPENDS PREPEND causeway_ OUTPUT_VARIABLE deps)
  if(ARG_PRELOAD)
    add_library(causeway_${name} SHARED ${sources})
    set_target_properties(causeway_${name} PROPERTIES PREFIX "" OUTPUT_NAME ${ARG_PRELOAD}
                          CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
    target_include_directories(causeway_${name} PRIVATE ${CMAKE_SOURCE_DIR}/src)
    target_compile_options(causeway_${name} PRIVATE -Wall -Wextra -Wshadow -fno-exceptions -fno-rtti
                           -fno-threadsafe-statics $<$<BOOL:${CW_WERROR}>:-Werror>)
    target_link_options(causeway_${name} PRIVATE -nodefaultlibs -Wl,-z,now -Wl,--no-undefined)
    target_link_libraries(causeway_${name} PRIVATE c gcc)
  elseif(sources)
    add_library(causeway_${name} STATIC ${sources})
    target_link_libraries(causeway_${name} PUBLIC causeway_compile ${deps} ${ARG_LIBRARIES})
    causeway_precompile(causeway_${name} room)
  else()
    add_library(causeway_${name} INTERFACE)
    target_link_libraries(causeway_${name} INTERFACE causeway_compile ${deps} ${ARG_LIBRARIES})
  endif()

  # A preload library is loaded, not linked.
  if(ARG_PRELOAD)
    set(linked causeway_compile)
  else()
    set(linked causeway_${name})
  endif()
  list(TRANSFORM ARG_TEST_DEPENDS PREPEND causeway_ OUTPUT_VARIABLE test_deps)
  if(CW_BUILD_TESTS AND tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE ${linked} ${test_deps} ${ARG_TEST_LIBRARIES}
                          GTest::gtest GTest::gmock GTest::gtest_main)
    causeway_precompile(${name}_test test)
    causeway_add_tests(${name}_test ${name})
  endif()
  if(CW_BUILD_BENCH AND benches)
    add_executable(${name}_bench ${benches})
    target_link_libraries(${name}_bench PRIVATE ${linked} ${test_deps} benchmark::benchmark_main)
  endif()
endfunction()
include(GoogleTest OPTIONAL)

# causeway_add_tests(PROGRAM PREFIX): its tests one by one, so that each has a process and a time limit of its own; or, with
# CW_TEST_PROGRAMS, the program as one test, which is much faster where starting one is slow (sanitizers).
function(causeway_add_tests program prefix)
  add_dependencies(unit_tests ${program})
  if(CW_TEST_PROGRAMS)
    add_test(NAME ${prefix}.${program} COMMAND ${program} --gtest_brief=1)
    set_tests_properties(${prefix}.${program} PROPERTIES TIMEOUT 900)
  else()
    gtest_discover_tests(${program} TEST_PREFIX "${prefix}." DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 120)
  endif()
endfunction()
