// VT-d second-stage tables. Source: Intel VT-d Architecture Specification, revision 4.1, section 3.7 (second-stage
// translation) and 9.8 (entries SS-PML5E, SS-PML4E, SS-PDPE, SS-PDE, SS-PTE): our levels 4 to 0.
//
//   Vtdss::leaf(Vtdss::attributes(kRead, 0), phys, 0, 12) == (phys.value() | 1)
//
// Nothing marks an entry as present but that it is not 0, so a leaf without access cannot be written.
#pragma once

#include "hw/vtd.h"
#include "iommu/pt/format.h"
#include "iommu/pt/io_page_table.h"

namespace causeway::iommu::pt {

struct Vtdss {
  static constexpr const char* kName = "vtdss";
  static constexpr unsigned kGranuleLg2 = 12;
  static constexpr unsigned kMinTopLevel = 2, kMaxLevel = 4, kMaxLeafLevel = 2;
  static constexpr unsigned kMaxVaLg2 = 57, kMaxOaLg2 = 52;
  static constexpr uint32_t kFeatures = kFlushRange | kForceCoherence | kForceWriteable | kDmaIncoherent;
  static constexpr bool kDirty = true, kContiguous = false;
  static constexpr uint64_t kDirtyMask = hw::vtd::SecondDirty::kMask;
  static constexpr uint64_t kFlushedMask = uint64_t{1} << 10;

  static constexpr uint64_t sizes(unsigned level) {
    return level <= kMaxLeafLevel ? uint64_t{1} << item_lg2<Vtdss>(level) : 0;
  }
  static constexpr EntryKind kind(uint64_t word, unsigned level) {
    if (word == 0) return EntryKind::kEmpty;
    const bool large = level <= kMaxLeafLevel && hw::vtd::SecondLarge::get(word) != 0;
    return level == 0 || large ? EntryKind::kLeaf : EntryKind::kTable;
  }
  static constexpr uint64_t table_entry(PhysAddr table, unsigned) { return table.value() | kAccess; }
  static constexpr PhysAddr table_of(uint64_t word) { return PhysAddr(word & hw::vtd::kEntryAddress); }

  static constexpr uint64_t attributes(uint32_t prot, uint32_t features) {
    uint64_t bits = ((prot & kRead) != 0 ? hw::vtd::SecondRead::kMask : 0) |
                    ((prot & kWrite) != 0 ? hw::vtd::SecondWrite::kMask : 0);
    if (bits == 0 || ((features & kForceWriteable) != 0 && (prot & kWrite) == 0)) return 0;
    return (features & kForceCoherence) != 0 ? bits | hw::vtd::SecondSnoop::kMask : bits;
  }
  static constexpr uint64_t attributes_of(uint64_t word) {
    return word & (kAccess | hw::vtd::SecondSnoop::kMask);
  }
  static constexpr uint32_t prot(uint64_t word) {
    return (hw::vtd::SecondRead::get(word) != 0 ? uint32_t{kRead} : 0) |
           (hw::vtd::SecondWrite::get(word) != 0 ? uint32_t{kWrite} : 0);
  }
  static constexpr uint64_t leaf(uint64_t attributes, PhysAddr phys, unsigned level, unsigned) {
    return attributes | phys.value() | (level != 0 ? hw::vtd::SecondLarge::kMask : 0);
  }
  static constexpr PhysAddr leaf_phys(uint64_t word, unsigned) { return PhysAddr(word & hw::vtd::kEntryAddress); }
  static constexpr unsigned leaf_lg2(uint64_t, unsigned level) { return item_lg2<Vtdss>(level); }
  static constexpr bool writable(uint64_t word) { return hw::vtd::SecondWrite::get(word) != 0; }

  static constexpr bool sound(uint64_t word, unsigned level) {
    const bool is_leaf = kind(word, level) == EntryKind::kLeaf;
    uint64_t allowed = kAccess | hw::vtd::kEntryAddress | kSoftware | hw::vtd::SecondAccessed::kMask;
    if (is_leaf) allowed |= kDirtyMask | hw::vtd::SecondSnoop::kMask;
    if (is_leaf && level != 0) allowed |= hw::vtd::SecondLarge::kMask;
    if ((word & ~allowed) != 0 || (word & kAccess) == 0) return false;
    return !is_leaf || leaf_phys(word, level).is_aligned(uint64_t{1} << leaf_lg2(word, level));
  }

 private:
  static constexpr uint64_t kAccess = hw::vtd::SecondRead::kMask | hw::vtd::SecondWrite::kMask;
  static constexpr uint64_t kSoftware = Field<10, 10>::kMask | Field<60, 52>::kMask | Field<63, 63>::kMask;
};
static_assert(PageTableFormat<Vtdss>);

}  // namespace causeway::iommu::pt
