// Zones and migratetypes: which memory an allocation may come from.
//
// A zone is a range of addresses: DMA32 lies below 4 GiB. A migratetype belongs to a pageblock (4 MiB)
// and keeps allocations of one kind together, so that large blocks survive; kCma pageblocks serve
// movable allocations alone.
#pragma once

#include <cstdint>

#include "base/types.h"

namespace causeway::mm {

inline constexpr Order kMaxPageOrder{10};    // MAX_PAGE_ORDER: 4 MiB
inline constexpr Order kPageblockOrder{10};  // migratetypes are per pageblock
inline constexpr unsigned kOrders = kMaxPageOrder.value() + 1;

enum class ZoneId : uint8_t { kDma32, kNormal };
inline constexpr unsigned kZones = 2;
inline constexpr PhysAddr kDma32Limit{uint64_t{1} << 32};
constexpr ZoneId zone_of(Pfn pfn) {
  return pfn < Pfn::containing(kDma32Limit) ? ZoneId::kDma32 : ZoneId::kNormal;
}

// kMovable is zero, so that a pageblock nobody has typed is movable. Blocks in kIsolate lists are free
// but never handed out.
enum class MigrateType : uint8_t { kMovable = 0, kUnmovable, kReclaimable, kCma, kIsolate };
inline constexpr unsigned kMigrateTypes = 5;
inline constexpr unsigned kPcpTypes = 3;  // those with per-CPU lists: the first three

}  // namespace causeway::mm
