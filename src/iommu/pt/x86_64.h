// First-stage tables, those of x86-64 processors. Source: Intel VT-d Architecture Specification, revision 4.1, section
// 9.9 (FS-PML5E to FS-PTE, our levels 4 to 0); AMD I/O Virtualization Technology Specification, revision 3.08, section
// 2.2.6 (v2 tables).
//
// Whatever is mapped can be read. Accessed, and for what is writable dirty, are set beforehand, so that the hardware
// never writes to a table; and so nobody can ask what was written.
#pragma once

#include "hw/vtd.h"
#include "iommu/pt/format.h"
#include "iommu/pt/io_page_table.h"

namespace causeway::iommu::pt {

struct X86_64 {
  static constexpr const char* kName = "x86_64";
  static constexpr unsigned kGranuleLg2 = 12;
  static constexpr unsigned kMinTopLevel = 3, kMaxLevel = 4, kMaxLeafLevel = 2;
  static constexpr unsigned kMaxVaLg2 = 57, kMaxOaLg2 = 52;
  // No memory is encrypted in this machine: the mask that kAmdEncryptTables would set is 0.
  static constexpr uint32_t kFeatures =
      kSignExtend | kFlushRange | kFlushRangeNoGaps | kAmdEncryptTables | kDmaIncoherent;
  static constexpr bool kDirty = false, kContiguous = false;
  static constexpr uint64_t kDirtyMask = hw::vtd::FirstDirty::kMask;
  static constexpr uint64_t kFlushedMask = uint64_t{1} << 9;

  static constexpr uint64_t sizes(unsigned level) {
    return level <= kMaxLeafLevel ? uint64_t{1} << item_lg2<X86_64>(level) : 0;
  }
  static constexpr EntryKind kind(uint64_t word, unsigned level) {
    if (hw::vtd::FirstPresent::get(word) == 0) return EntryKind::kEmpty;
    const bool large = level <= kMaxLeafLevel && hw::vtd::FirstLarge::get(word) != 0;
    return level == 0 || large ? EntryKind::kLeaf : EntryKind::kTable;
  }
  static constexpr uint64_t table_entry(PhysAddr table, unsigned) {
    return table.value() | kAlways | hw::vtd::FirstWrite::kMask;
  }
  static constexpr PhysAddr table_of(uint64_t word) { return PhysAddr(word & hw::vtd::kEntryAddress); }

  static constexpr uint64_t attributes(uint32_t prot, uint32_t) {
    if ((prot & (kRead | kWrite)) == 0) return 0;
    return (prot & kWrite) != 0 ? kAlways | hw::vtd::FirstWrite::kMask | kDirtyMask : kAlways;
  }
  static constexpr uint64_t attributes_of(uint64_t word) {
    return word & (kAlways | hw::vtd::FirstWrite::kMask | kDirtyMask | hw::vtd::FirstNoExecute::kMask);
  }
  static constexpr uint32_t prot(uint64_t word) {
    return hw::vtd::FirstWrite::get(word) != 0 ? uint32_t{kRead | kWrite} : uint32_t{kRead};
  }
  static constexpr uint64_t leaf(uint64_t attributes, PhysAddr phys, unsigned level, unsigned) {
    return attributes | phys.value() | (level != 0 ? hw::vtd::FirstLarge::kMask : 0);
  }
  static constexpr PhysAddr leaf_phys(uint64_t word, unsigned) { return PhysAddr(word & hw::vtd::kEntryAddress); }
  static constexpr unsigned leaf_lg2(uint64_t, unsigned level) { return item_lg2<X86_64>(level); }
  static constexpr bool writable(uint64_t word) { return hw::vtd::FirstWrite::get(word) != 0; }

  static constexpr bool sound(uint64_t word, unsigned level) {
    const bool is_leaf = kind(word, level) == EntryKind::kLeaf;
    uint64_t allowed =
        kAlways | hw::vtd::FirstWrite::kMask | hw::vtd::FirstNoExecute::kMask | hw::vtd::kEntryAddress | kSoftware;
    if (is_leaf) allowed |= kDirtyMask;
    if (is_leaf && level != 0) allowed |= hw::vtd::FirstLarge::kMask;
    if ((word & ~allowed) != 0 || (word & kAlways) != kAlways) return false;
    return !is_leaf || leaf_phys(word, level).is_aligned(uint64_t{1} << leaf_lg2(word, level));
  }

 private:
  static constexpr uint64_t kAlways =
      hw::vtd::FirstPresent::kMask | hw::vtd::FirstUser::kMask | hw::vtd::FirstAccessed::kMask;
  static constexpr uint64_t kSoftware = Field<9, 9>::kMask | Field<11, 11>::kMask | Field<62, 52>::kMask;
};
static_assert(PageTableFormat<X86_64>);

}  // namespace causeway::iommu::pt
