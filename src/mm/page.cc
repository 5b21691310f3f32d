#include "mm/page.h"

#include <utility>

namespace causeway::mm {

const char* name_of(FrameState state) {
  switch (state) {
    case FrameState::kHole:
      return "hole";
    case FrameState::kReserved:
      return "reserved";
    case FrameState::kFree:
      return "free";
    case FrameState::kAllocated:
      return "allocated";
    case FrameState::kLeaked:
      return "leaked";
  }
  return "?";
}

Result<MemMap> MemMap::create(const platform::DirectMap& direct_map) {
  uint64_t frames = direct_map.limit() >> kPageShift;
  if (frames > UINT32_MAX) return fail(E2BIG, "more physical address space than free lists can link");
  // Whole pageblocks, because the buddy of a block at the end may lie past it.
  Mapping entries = CW_TRY(Mapping::sparse(align_up(frames, 1024) * sizeof(Page)));
  return MemMap(std::move(entries), direct_map);
}

MemMap::MemMap(Mapping mapping, const platform::DirectMap& direct_map)
    : mapping_(std::move(mapping)),
      pages_(mapping_.at<Page>(0)),
      end_pfn_(direct_map.limit() >> kPageShift),
      direct_map_(&direct_map) {}

}  // namespace causeway::mm
