// AMD host page tables (v1). Source: AMD I/O Virtualization Technology Specification, revision 3.08, section 2.2.3 (I/O
// page tables for host translations). A table that the document reaches with mode M is of our level M - 1; an entry's
// next level field names the mode of what it points to, which is the level of the table that holds it.
//
//   Amdv1::leaf(attributes, phys, 0, 15)           // 32 KiB: the same word in 8 entries
//
// A leaf can have any power of two: the next level field is 7, and the address, in granules, ends in a 0 and one 1 for
// each doubling beyond 2 granules. 512 GiB is left out, which hardware gets wrong.
#pragma once

#include <algorithm>
#include <bit>

#include "base/bits.h"
#include "iommu/pt/format.h"
#include "iommu/pt/io_page_table.h"

namespace causeway::iommu::pt {

// Tests run the algorithms with a granule that is no page.
template <unsigned Granule, unsigned MaxVa, unsigned MaxOa, unsigned MinTop, unsigned MaxTop, uint32_t Features>
struct Amd {
  static constexpr const char* kName = Granule == 12 ? "amdv1" : "amdv1_mock";
  static constexpr unsigned kGranuleLg2 = Granule;
  static constexpr unsigned kMinTopLevel = MinTop, kMaxLevel = MaxTop, kMaxLeafLevel = 4;
  static constexpr unsigned kMaxVaLg2 = MaxVa, kMaxOaLg2 = MaxOa;
  static constexpr uint32_t kFeatures = Features;
  static constexpr bool kDirty = true, kContiguous = true;

  using Present = Field<0, 0>;
  using Dirty = Field<6, 6>;
  using NextLevel = Field<11, 9>;
  using Address = Field<51, 12>;  // in granules
  using ForceCoherent = Field<60, 60>;
  using Readable = Field<61, 61>;
  using Writable = Field<62, 62>;
  static constexpr uint64_t kEncodedSize = 7;  // next level of a leaf that is not of its level's natural size
  static constexpr uint64_t kDirtyMask = Dirty::kMask;
  static constexpr uint64_t kFlushedMask = 0;

  static constexpr uint64_t sizes(unsigned level) {
    if (level > kMaxLeafLevel) return 0;
    constexpr unsigned kLargest = Granule + 39;
    const unsigned item = item_lg2<Amd>(level);
    const unsigned largest = std::min(kLargest, item + kItemsLg2 - 1);
    const uint64_t all = (uint64_t{2} << largest) - (uint64_t{1} << item);
    return all & ~GiB(512);
  }
  static constexpr EntryKind kind(uint64_t word, unsigned level) {
    if (Present::get(word) == 0) return EntryKind::kEmpty;
    const uint64_t next = NextLevel::get(word);
    return level == 0 || next == 0 || next == kEncodedSize ? EntryKind::kLeaf : EntryKind::kTable;
  }
  static constexpr uint64_t table_entry(PhysAddr table, unsigned level) {
    return Present::kMask | Readable::kMask | Writable::kMask | NextLevel::make(level) |
           Address::make(table.value() >> Granule);
  }
  static constexpr PhysAddr table_of(uint64_t word) { return PhysAddr(Address::get(word) << Granule); }

  static constexpr uint64_t attributes(uint32_t prot, uint32_t features) {
    const uint64_t access =
        ((prot & kRead) != 0 ? Readable::kMask : 0) | ((prot & kWrite) != 0 ? Writable::kMask : 0);
    if (access == 0) return 0;
    return Present::kMask | access | ((features & kForceCoherence) != 0 ? ForceCoherent::kMask : 0);
  }
  static constexpr uint64_t attributes_of(uint64_t word) {
    return word & (Present::kMask | Readable::kMask | Writable::kMask | ForceCoherent::kMask);
  }
  static constexpr uint32_t prot(uint64_t word) {
    return (Readable::get(word) != 0 ? uint32_t{kRead} : 0) | (Writable::get(word) != 0 ? uint32_t{kWrite} : 0);
  }
  static constexpr uint64_t leaf(uint64_t attributes, PhysAddr phys, unsigned level, unsigned lg2) {
    const uint64_t address = phys.value() >> Granule;
    if (lg2 == item_lg2<Amd>(level)) return attributes | Address::make(address);
    const uint64_t ones = (uint64_t{1} << (lg2 - Granule - 1)) - 1;
    return attributes | NextLevel::make(kEncodedSize) | Address::make(address | ones);
  }
  static constexpr PhysAddr leaf_phys(uint64_t word, unsigned level) {
    const uint64_t address = Address::get(word) << Granule;
    return PhysAddr(address & ~((uint64_t{1} << leaf_lg2(word, level)) - 1));
  }
  static constexpr unsigned leaf_lg2(uint64_t word, unsigned level) {
    if (NextLevel::get(word) != kEncodedSize) return item_lg2<Amd>(level);
    return Granule + 1 + static_cast<unsigned>(std::countr_one(Address::get(word)));
  }
  static constexpr bool writable(uint64_t word) { return Writable::get(word) != 0; }

  static constexpr bool sound(uint64_t word, unsigned level) {
    constexpr uint64_t kTable =
        Present::kMask | NextLevel::kMask | Address::kMask | Readable::kMask | Writable::kMask | Field<5, 5>::kMask;
    if (kind(word, level) == EntryKind::kTable) return (word & ~kTable) == 0 && NextLevel::get(word) == level;
    if ((word & ~(kTable | Dirty::kMask | ForceCoherent::kMask)) != 0) return false;
    if (NextLevel::get(word) != 0 && NextLevel::get(word) != kEncodedSize) return false;
    const unsigned lg2 = leaf_lg2(word, level);
    return lg2 < 64 && (sizes(level) >> lg2 & 1) != 0 &&
           (NextLevel::get(word) != 0 || table_of(word).is_aligned(uint64_t{1} << lg2));
  }
};

// No memory is encrypted in this machine: the mask that kAmdEncryptTables would set is 0.
inline constexpr uint32_t kAmdv1Features =
    kFullVa | kDynamicTop | kFlushRange | kFlushRangeNoGaps | kAmdEncryptTables | kForceCoherence;
using Amdv1 = Amd<12, 64, 52, 1, 5, kAmdv1Features>;
using Amdv1Mock = Amd<11, 56, 51, 2, 4, 0>;
static_assert(PageTableFormat<Amdv1> && PageTableFormat<Amdv1Mock>);

}  // namespace causeway::iommu::pt
