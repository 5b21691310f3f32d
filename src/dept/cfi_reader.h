// The bytes of .eh_frame_hdr and .eh_frame: numbers as they are encoded there, and the description of the function around
// a program counter.
//
//   FrameDescription function;
//   if (find_description(frame_table_of(pc), pc, &function)) interpret(function.instructions, ...);
//
// Private to cfi.cc. The bytes are those the C++ runtime itself unwinds by: trusted, yet every loop ends.
#pragma once

#include <cstdint>

namespace causeway::dept {

// Reads forward and stops at `end`: what lies beyond reads as 0.
class CfiReader {
 public:
  CfiReader(const uint8_t* at, const uint8_t* end) : at_(at), end_(end) {}

  bool at_end() const { return at_ >= end_; }
  const uint8_t* position() const { return at_; }
  template <typename T>
  T fixed() {
    if (static_cast<uint64_t>(end_ - at_) < sizeof(T)) {
      at_ = end_;
      return T{};
    }
    T value;
    __builtin_memcpy(&value, at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  uint64_t uleb();
  int64_t sleb();
  // A pointer in one of the DW_EH_PE encodings. `data`: what data-relative ones are relative to.
  uintptr_t encoded(uint8_t encoding, uintptr_t data);
  void skip(uint64_t bytes);

 private:
  const uint8_t* at_;
  const uint8_t* end_;
};

struct FrameDescription {
  const uint8_t* initial;  // instructions of the common information entry
  const uint8_t* initial_end;
  const uint8_t* instructions;
  const uint8_t* instructions_end;
  uintptr_t begin;  // of the code
  uint64_t code_align;
  int64_t data_align;
  uint64_t return_address;  // its column
  uint8_t pointer_encoding;
  bool is_signal;
};

// The .eh_frame_hdr of the module around `pc`; nullptr: none.
const uint8_t* frame_table_of(uintptr_t pc);
// False: no function there, or in a form that is not understood.
bool find_description(const uint8_t* frame_table, uintptr_t pc, FrameDescription* found);

}  // namespace causeway::dept
