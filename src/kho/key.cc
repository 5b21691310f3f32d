#include "kho/key.h"

#include <algorithm>
#include <bit>
#include <cassert>

namespace causeway::kho {
namespace {

constexpr unsigned kOrderBitOfOrder0 = abi::kKeyBits - 1;
constexpr uint64_t kTypeMask = uint64_t{1} << abi::kTypeBit;

}  // namespace

Result<Block> decode_key(uint64_t key, Format format) {
  PageType type = PageType::kContig;
  if (format == Format::kTyped && (key & kTypeMask) != 0) {
    type = PageType::kSplit;
    key &= ~kTypeMask;
  }
  if (key == 0) return fail(EINVAL, "key without an order bit");
  const unsigned top = static_cast<unsigned>(std::bit_width(key)) - 1;
  if (top > kOrderBitOfOrder0) return fail(EINVAL, "key has bits that its format does not have");
  const unsigned order = kOrderBitOfOrder0 - top;
  if (order == 0 && type == PageType::kSplit) return fail(EINVAL, "key of order 0 with a type");
  return Block{Pfn((key ^ uint64_t{1} << top) << order), Order(order), type};
}

bool key_fits(uint64_t key, Format format) {
  if (format == Format::kTyped) key &= ~kTypeMask;
  return key >> abi::kKeyBits == 0;
}

Order block_order_at(Pfn pfn, uint64_t pages_left) {
  assert(pages_left > 0);
  const unsigned by_size = static_cast<unsigned>(std::bit_width(pages_left)) - 1;
  if (pfn.value() == 0) return Order(by_size);
  return Order(std::min(by_size, static_cast<unsigned>(std::countr_zero(pfn.value()))));
}

}  // namespace causeway::kho
