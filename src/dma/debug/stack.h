// Who called: up to five return addresses, found by following frame pointers, which costs a few nanoseconds (every build
// of Causeway keeps frame pointers). Names are looked up when a report is written, not before.
//
//   Stack stack = capture_stack(__builtin_frame_address(0));   // the callers of this function, nearest first
//   log::warn("dma-debug", "mapped at {}", to_string(stack));  // "nvme_test(+0x1c04) < ..."
//
// The walk ends early where a library was built without frame pointers: a link that does not lead further up this
// thread's stack is not followed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace causeway::dma {

struct Stack {
  static constexpr unsigned kFrames = 5;
  std::array<const void*, kFrames> frames{};  // null after the last
};

Stack capture_stack(const void* frame);
std::string to_string(const Stack& stack);

// The calling thread's stack, [low, high); asked of the system once per thread.
struct StackBounds {
  uintptr_t low = 0;
  uintptr_t high = 0;
  bool contains(uintptr_t address) const { return address >= low && address < high; }
};
const StackBounds& own_stack();

// A byte of [pointer, pointer + size) is text or read-only data of the program or of a library it has loaded.
bool in_read_only_image(const void* pointer, size_t size);

}  // namespace causeway::dma
