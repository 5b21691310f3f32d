#include "mm/bad_page.h"

#include <fmt/core.h>

#include <bit>

namespace causeway::mm {
namespace {

constexpr uint32_t kCompoundFlags = kPageHead | kPageTail;

// Zero if refcount, mapcount and the given flags are. One value, so that the loop over a large block
// has one branch per page.
uint32_t dirt(const Page& page, uint32_t flags) {
  return static_cast<uint32_t>(page.refcount.load(std::memory_order_relaxed)) |
         static_cast<uint32_t>(page.mapcount_plus_one.load(std::memory_order_relaxed)) |
         (page.flags.load(std::memory_order_relaxed) & flags);
}

BadPage reason_of(const Page& page, uint32_t flags) {
  if (page.refcount.load(std::memory_order_relaxed) != 0) return BadPage::kNonzeroRefcount;
  if (page.mapcount_plus_one.load(std::memory_order_relaxed) != 0) return BadPage::kNonzeroMapcount;
  if (page.has(flags & ~kCompoundFlags)) return BadPage::kFlags;
  if (page.has(flags & kCompoundFlags)) return BadPage::kCompound;
  return BadPage::kNone;
}

BlockCheck check_compound(const Page* head, uint64_t pages) {
  if (uint64_t{1} << head->order != pages) return {BadPage::kCompound, 0};
  for (uint64_t i = 1; i < pages; ++i) {
    const Page& tail = head[i];
    if (dirt(tail, kFreeMustBeClear) != 0) return {reason_of(tail, kFreeMustBeClear), i};
    if (!tail.has(kPageTail) || tail.has(kPageHead) || tail.private_data != i) return {BadPage::kCompound, i};
  }
  return {};
}

}  // namespace

const char* name_of(BadPage reason) {
  switch (reason) {
    case BadPage::kNone:
      return "good";
    case BadPage::kNonzeroRefcount:
      return "nonzero refcount";
    case BadPage::kNonzeroMapcount:
      return "nonzero mapcount";
    case BadPage::kFlags:
      return "flags set that must be clear";
    case BadPage::kTailPrivate:
      return "nonzero private of a tail";
    case BadPage::kCompound:
      return "inconsistent compound page";
    case BadPage::kAlreadyFree:
      return "free already";
    case BadPage::kNotManaged:
      return "not the allocator's";
  }
  return "?";
}

BlockCheck check_freed_block(const MemMap& map, Pfn pfn, uint64_t pages) {
  const Page* head = map.page(pfn);
  if (dirt(*head, kFreeMustBeClear | kPageTail) != 0)
    return {reason_of(*head, kFreeMustBeClear | kPageTail), 0};
  if (head->has(kPageHead)) return check_compound(head, pages);
  constexpr uint32_t kMask = kFreeMustBeClear | kCompoundFlags;
  for (uint64_t i = 1; i < pages; ++i) {
    const Page& tail = head[i];
    if ((dirt(tail, kMask) | tail.private_data) == 0) continue;
    BadPage reason = reason_of(tail, kMask);
    return {reason != BadPage::kNone ? reason : BadPage::kTailPrivate, i};
  }
  return {};
}

BlockCheck check_new_block(const MemMap& map, Pfn pfn, uint64_t pages, uint32_t list_flag) {
  const Page* head = map.page(pfn);
  uint32_t flags = ~list_flag;
  for (uint64_t i = 0; i < pages; ++i) {
    if (dirt(head[i], flags) != 0) return {reason_of(head[i], flags), i};
    flags = ~uint32_t{0};
  }
  return {};
}

std::string describe_bad_page(const MemMap& map, BadPage reason, Pfn bad, PfnRange block, const char* moment,
                              PageOwner owner) {
  // A frame outside the array has no struct page to show.
  if (bad.value() >= map.end_pfn())
    return fmt::format("bad page state: {}, {}, {}", bad, name_of(reason), moment);
  const Page* page = map.page(bad);
  std::string place;
  if (block.pages() > 1) {
    std::string size = is_power_of_two(block.pages())
                           ? fmt::format("an order-{} block", std::countr_zero(block.pages()))
                           : fmt::format("a block of {} pages", block.pages());
    place = fmt::format(" (page {} of {} at {})", bad - block.begin, size, block.begin);
  }
  std::string line = fmt::format(
      "bad page state: {}: {}{}, {}: refcount {}, want 0; mapcount {}, want -1; flags {:#x}, want none of "
      "{:#x}",
      bad, name_of(reason), place, moment, page->count(),
      page->mapcount_plus_one.load(std::memory_order_relaxed) - 1,
      page->flags.load(std::memory_order_relaxed), kFreeMustBeClear);
  if (owner == PageOwner::kCaller) line += fmt::format("; private {:#x}", page->private_data);
  return line;
}

}  // namespace causeway::mm
