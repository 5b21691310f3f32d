# Compiler settings shared by every target.
add_library(causeway_compile INTERFACE)
target_compile_options(causeway_compile INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wno-missing-field-initializers
  -fno-omit-frame-pointer)
target_include_directories(causeway_compile INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_link_libraries(causeway_compile INTERFACE Threads::Threads fmt::fmt)
if(CW_WERROR)
  target_compile_options(causeway_compile INTERFACE -Werror)
endif()
if(CW_POINTS)
  target_compile_definitions(causeway_compile INTERFACE CW_POINTS=1)
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
  target_compile_definitions(causeway_compile INTERFACE CW_DEBUG=1)
endif()
if(CW_SANITIZE)
  target_compile_options(causeway_compile INTERFACE -fsanitize=${CW_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(causeway_compile INTERFACE -fsanitize=${CW_SANITIZE})
  target_compile_definitions(causeway_compile INTERFACE CW_SANITIZED=1)
endif()
# What the address sanitizer notices anyway is not checked twice: a quarter of the time of such a build.
if(CW_SANITIZE MATCHES "address" AND CW_SANITIZE MATCHES "undefined")
  target_compile_options(causeway_compile INTERFACE -fno-sanitize=null,object-size,vptr)
endif()
# A sanitized frame is large; GCC's own analysis then warns about code it inlined itself.
if(CW_SANITIZE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(causeway_compile INTERFACE -Wno-maybe-uninitialized -Wno-tsan)
endif()
# "text" + std::string is misjudged by GCC 12 with optimisation (PR 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(causeway_compile INTERFACE -Wno-restrict)
endif()
