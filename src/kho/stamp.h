// The stamp in the struct page of a preserved block's head, between boot and restore: abi::page_stamp(),
// and bit 31 for the recorded type. Private to this room.
//
//   write_stamp(*map.page(block.pfn), block);
//   if (auto block = read_stamp(*page, pfn)) ...    // nullopt: not a preserved head, or restored
#pragma once

#include <atomic>
#include <optional>

#include "kho/abi/kho_v4.h"
#include "kho/key.h"
#include "mm/page.h"

namespace causeway::kho {

inline constexpr uint64_t kStampSplit = uint64_t{1} << 31;

inline uint64_t make_stamp(const Block& block) {
  return abi::page_stamp(block.order) | (block.type == PageType::kSplit ? kStampSplit : 0);
}

inline void write_stamp(mm::Page& page, const Block& block) {
  std::atomic_ref(page.private_data).store(make_stamp(block), std::memory_order_release);
}

// Nothing but the magic is believed: a caller may ask about any frame.
inline std::optional<Block> read_stamp(mm::Page& page, Pfn pfn) {
  const uint64_t stamp = std::atomic_ref(page.private_data).load(std::memory_order_acquire);
  const uint64_t order = stamp & 0xffffffff & ~kStampSplit;
  if (stamp >> 32 != abi::kPageMagic || order >= 64 - kPageShift) return std::nullopt;
  const Block block{pfn, Order(static_cast<unsigned>(order)),
                    (stamp & kStampSplit) != 0 ? PageType::kSplit : PageType::kContig};
  if (!pfn.is_aligned(block.order)) return std::nullopt;
  return block;
}

// Takes the stamp away; false if somebody else was faster.
inline bool claim_stamp(mm::Page& page, const Block& block) {
  uint64_t expected = make_stamp(block);
  return std::atomic_ref(page.private_data).compare_exchange_strong(expected, 0, std::memory_order_acq_rel);
}

}  // namespace causeway::kho
