// Keys of the radix tree: which block, of which order, and in the typed format of which type.
//
//   uint64_t key = encode_key({Pfn{0x200}, Order{9}, PageType::kContig});  // 0x0000080000000001
//   Result<Block> block = decode_key(key, Format::kV4);
#pragma once

#include <cassert>
#include <cstdint>

#include "base/result.h"
#include "base/types.h"
#include "kho/abi/kho_v4.h"
#include "kho/abi/typed_v1.h"

namespace causeway::kho {

enum class Format : uint8_t { kV4, kTyped };

// The reference counts of a preserved block: head 1 and tails 0, or every page 1.
enum class PageType : uint8_t { kContig = 0, kSplit = 1 };

struct Block {
  Pfn pfn;
  Order order;
  PageType type = PageType::kContig;
  PfnRange range() const { return {pfn, pfn + order.pages()}; }
  bool operator==(const Block&) const = default;
};

// The frame is aligned to the order. The type counts in the typed format only, and never for order 0.
inline uint64_t encode_key(const Block& block, Format format) {
  const unsigned order = block.order.value();
  assert(order < abi::kKeyBits && block.pfn.is_aligned(block.order));
  uint64_t key = uint64_t{1} << (abi::kKeyBits - 1 - order) | block.pfn.value() >> order;
  if (format == Format::kTyped && block.type == PageType::kSplit && order > 0)
    key |= uint64_t{1} << abi::kTypeBit;
  return key;
}
// EINVAL: no order bit, an order above 52, bits that the format does not have.
Result<Block> decode_key(uint64_t key, Format format);
// False: wider than the format's keys are (ERANGE on add).
bool key_fits(uint64_t key, Format format);

// The blocks KHO cuts [pfn, pfn + n) into: each as large as alignment and the rest allow.
//
//   while (n > 0) { Order order = block_order_at(pfn, n); ...; pfn += order.pages(); n -= order.pages(); }
Order block_order_at(Pfn pfn, uint64_t pages_left);

}  // namespace causeway::kho
