// SourceLocation: std::source_location, or the same thing where the library has none.
//
//   void lock(SourceLocation where = SourceLocation::current());
//
// clang 14 lacks the builtin that libstdc++ builds std::source_location on; there a small class with
// the same members takes its place, so that both compilers build the same sources.
#pragma once

#include <source_location>

#ifndef __cpp_lib_source_location
#include <cstdint>
#endif

namespace causeway {

#ifdef __cpp_lib_source_location
using SourceLocation = std::source_location;
#else
class SourceLocation {
 public:
  constexpr SourceLocation() = default;
  static constexpr SourceLocation current(const char* file = __builtin_FILE(),
                                          const char* function = __builtin_FUNCTION(),
                                          uint_least32_t line = __builtin_LINE()) {
    SourceLocation here;
    here.file_ = file;
    here.function_ = function;
    here.line_ = line;
    return here;
  }
  constexpr const char* file_name() const { return file_; }
  constexpr const char* function_name() const { return function_; }
  constexpr uint_least32_t line() const { return line_; }
  constexpr uint_least32_t column() const { return 0; }

 private:
  const char* file_ = "";
  const char* function_ = "";
  uint_least32_t line_ = 0;
};
#endif

}  // namespace causeway
