// What an allocation may do and where its memory may lie.
//
//   allocator.alloc_pages(Order{3}, kGfpKernel | kGfpZero);
//   allocator.alloc_pages(kOrder0, kGfpAtomic | kGfpDma32);
#pragma once

#include <cstdint>

namespace causeway::mm {

enum class Gfp : uint32_t {
  kNone = 0,
  kBlocking = 1u << 0,  // may sleep (__GFP_DIRECT_RECLAIM)
  kZero = 1u << 1,
  kComp = 1u << 2,     // make a compound page (a folio)
  kDma32 = 1u << 3,    // below 4 GiB
  kMovable = 1u << 4,  // the owner can be asked to move it: may come from CMA pageblocks
  kNoWarn = 1u << 5,
};
constexpr Gfp operator|(Gfp a, Gfp b) {
  return static_cast<Gfp>(static_cast<uint32_t>(a) | static_cast<uint32_t>(b));
}
constexpr bool has(Gfp set, Gfp flag) {
  return (static_cast<uint32_t>(set) & static_cast<uint32_t>(flag)) != 0;
}
constexpr Gfp without(Gfp set, Gfp flag) {
  return static_cast<Gfp>(static_cast<uint32_t>(set) & ~static_cast<uint32_t>(flag));
}

inline constexpr Gfp kGfpKernel = Gfp::kBlocking;
inline constexpr Gfp kGfpAtomic = Gfp::kNone;
inline constexpr Gfp kGfpZero = Gfp::kZero;
inline constexpr Gfp kGfpDma32 = Gfp::kDma32;

}  // namespace causeway::mm
