// Context entries: what a unit does with the requests of one function.
//
//   ContextSlot slot = CW_TRY(root.slot(Bdf(0, 1, 0)));
//   slot.set(LegacyContext{.width = 2, .top = table.root().top, .domain = did});
//   ...
//   LegacyContext old = slot.legacy();
//   slot.clear();                                   // then flush_context_device(old.domain, bdf), flush_iotlb_domain()
#pragma once

#include <cstdint>

#include "base/types.h"
#include "hw/vtd.h"
#include "iommu/domain.h"
#include "iommu/vtd/registers.h"
#include "iommu/vtd/table_memory.h"

namespace causeway::iommu::vtd {

struct LegacyContext {
  bool present = true;
  bool fault_disable = false;
  hw::vtd::ContextType type = hw::vtd::kTranslateUntranslated;
  unsigned width = 2;  // of the tables at `top`: Capabilities::bits_of_width()
  PhysAddr top{};        // ignored with kPassThrough
  DomainId domain{0};
  bool operator==(const LegacyContext&) const = default;
};
hw::vtd::ContextEntry encode(const LegacyContext& context);
LegacyContext decode(const hw::vtd::ContextEntry& entry);

struct ScalableContext {
  bool present = true;
  bool fault_disable = false;
  bool device_tlb = false;
  bool pasid = false;
  bool page_requests = false;
  unsigned directory_size = 0;  // PasidTable::directory_size()
  PhysAddr directory{};
  Pasid rid_pasid = kNoPasid;
  bool operator==(const ScalableContext&) const = default;
};
hw::vtd::ScalableContextEntry encode(const ScalableContext& context);
ScalableContext decode(const hw::vtd::ScalableContextEntry& entry);

// The place of one entry. Cheap to copy; lives as long as the root table.
class ContextSlot {
 public:
  ContextSlot(TableMemory& memory, TableMode mode, TableWord* words) : memory_(&memory), mode_(mode), words_(words) {}
  TableMode mode() const { return mode_; }
  bool present() const { return (load_word(words_) & kPresent) != 0; }

  // Of the mode the table is in.
  LegacyContext legacy() const;
  ScalableContext scalable() const;
  // The slot is empty.
  void set(const LegacyContext& context);
  void set(const ScalableContext& context);
  // Of a live scalable entry: one word.
  void set_device_tlb(bool on);
  void set_page_requests(bool on);
  void clear();
  const TableWord* words() const { return words_; }

 private:
  TableMemory* memory_;
  TableMode mode_;
  TableWord* words_;
};

}  // namespace causeway::iommu::vtd
