// Where something was done: a program counter, or a line of source where the caller knows it.
//
//   Site::at(__builtin_return_address(0))             // of a stranger's program: symbolised later
//   Site::at(where.file_name(), where.line())         // of our own: nothing to look up
//
// A Frame is one level of a recorded stack in one word: a program counter, or the name of an interned "file:line function".
#pragma once

#include <cstdint>

#include "dept/ids.h"

namespace causeway::dept {

struct Site {
  uintptr_t where = 0;  // program counter; or const char* of a literal, if line is not 0
  uint32_t line = 0;

  static Site at(const void* pc) { return {reinterpret_cast<uintptr_t>(pc), 0}; }
  static constexpr Site at_pc(uintptr_t pc) { return {pc, 0}; }
  static Site at(const char* file, uint32_t line) { return {reinterpret_cast<uintptr_t>(file), line}; }
  friend bool operator==(const Site&, const Site&) = default;
};

class Frame {
 public:
  constexpr Frame() = default;
  static constexpr Frame pc(uint64_t address) { return Frame(address); }
  static constexpr Frame source(StringId text) { return Frame(kSource | index_of(text)); }
  constexpr bool is_source() const { return (value_ & kSource) != 0; }
  constexpr uint64_t pc() const { return value_; }
  constexpr StringId source() const { return StringId(static_cast<uint32_t>(value_)); }
  constexpr uint64_t raw() const { return value_; }
  friend constexpr bool operator==(Frame, Frame) = default;

 private:
  static constexpr uint64_t kSource = uint64_t{1} << 63;
  explicit constexpr Frame(uint64_t value) : value_(value) {}
  uint64_t value_ = 0;
};

inline constexpr unsigned kStackDepth = 32;

}  // namespace causeway::dept
