// DMA attributes: the kernel's DMA_ATTR_* bits, with the kernel's values.
#pragma once

#include <cstdint>

namespace causeway::dma {

enum class Attr : uint64_t {
  kNone = 0,
  kWeakOrdering = 1u << 1,
  kWriteCombine = 1u << 2,
  kNoKernelMapping = 1u << 4,
  kSkipCpuSync = 1u << 5,
  kForceContiguous = 1u << 6,
  kAllocSinglePages = 1u << 7,
  kNoWarn = 1u << 8,
  kPrivileged = 1u << 9,
  kMmio = 1u << 10,
  kDebuggingIgnoreCachelines = 1u << 11,
  kRequireCoherent = 1u << 12,
  kCcShared = 1u << 13,
  kAllocCcShared = 1u << 14,  // internal
};
constexpr Attr operator|(Attr a, Attr b) {
  return static_cast<Attr>(static_cast<uint64_t>(a) | static_cast<uint64_t>(b));
}
constexpr Attr operator&(Attr a, Attr b) {
  return static_cast<Attr>(static_cast<uint64_t>(a) & static_cast<uint64_t>(b));
}
constexpr bool has(Attr set, Attr attr) { return (set & attr) != Attr::kNone; }

}  // namespace causeway::dma
