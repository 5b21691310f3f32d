// PASID entries: one address space of a device, in scalable mode.
//
//   PasidContext entry = first_stage_entry(did, table.root().top, /*five_levels=*/false, caps);
//   CW_TRY(pasids->set(kNoPasid, entry));
#pragma once

#include <cstdint>

#include "base/types.h"
#include "hw/vtd.h"
#include "iommu/vtd/capabilities.h"

namespace causeway::iommu::vtd {

// Which fields count depends on `type`.
struct PasidContext {
  bool present = true;
  bool fault_disable = false;
  hw::vtd::PasidTranslation type = hw::vtd::kPasidPassThrough;
  DomainId domain{0};
  bool page_walk_snoop = false;  // PWSNP
  bool page_snoop = false;       // PGSNP
  // kSecondStage; kPasidPassThrough has a width alone.
  unsigned width = 0;  // as in LegacyContext
  PhysAddr second_stage{};
  bool dirty_tracking = false;  // SSADE
  // kFirstStage
  PhysAddr first_stage{};
  bool five_levels = false;
  bool write_protect = false;
  bool supervisor = false;
  bool extended_accessed = false;
  bool operator==(const PasidContext&) const = default;
};
hw::vtd::PasidEntry encode(const PasidContext& context);
PasidContext decode(const hw::vtd::PasidEntry& entry);

PasidContext first_stage_entry(DomainId domain, PhysAddr top, bool five_levels, const Capabilities& caps);
PasidContext second_stage_entry(DomainId domain, PhysAddr top, unsigned width, const Capabilities& caps);
PasidContext pass_through_entry(DomainId domain, const Capabilities& caps);

}  // namespace causeway::iommu::vtd
