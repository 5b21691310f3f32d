// The checks on struct pages when a block is freed or handed out, and the report of one that fails:
// the kernel's "BUG: Bad page state".
//
//   BlockCheck check = check_freed_block(map, pfn, 8, Compound::kNo);
//   if (check.reason != BadPage::kNone) log::warn("mm", "{}", describe_bad_page(map, check, ...));
//
// The expected state of a page at free: mapcount 0 (stored), refcount 0, none of kFreeMustBeClear; of a
// tail besides: private_data 0, or in a compound page kPageTail and the distance to the head.
#pragma once

#include <cstdint>
#include <string>

#include "mm/page.h"

namespace causeway::mm {

// Why a page may not be freed (or allocated) as it is: what the kernel prints after "BUG: Bad page state".
enum class BadPage : uint8_t {
  kNone,
  kNonzeroRefcount,
  kNonzeroMapcount,
  kFlags,
  kTailPrivate,
  kCompound,
  kAlreadyFree,
  kNotManaged,
};
// "nonzero refcount", as it stands in the report.
const char* name_of(BadPage reason);

struct BlockCheck {
  BadPage reason = BadPage::kNone;
  uint64_t index = 0;  // the page it is about, counted from the first of the block
};

// A block whose last reference is gone. kPageHead on the first page makes it a compound page, which must
// then have exactly `pages` pages.
BlockCheck check_freed_block(const MemMap& map, Pfn pfn, uint64_t pages);
// A block that comes from a free list. Its first page may have `list_flag` (kPagePcp, or 0).
BlockCheck check_new_block(const MemMap& map, Pfn pfn, uint64_t pages, uint32_t list_flag);

// Whose page a report is about: of a page that may have another owner only what is atomic is read.
enum class PageOwner : uint8_t { kCaller, kUnknown };
// One line: the reason, the page, its fields and where it lies in the block.
std::string describe_bad_page(const MemMap& map, BadPage reason, Pfn bad, PfnRange block, const char* moment,
                              PageOwner owner);

}  // namespace causeway::mm
