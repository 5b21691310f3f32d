#include "iommu/vtd/pasid_entry.h"

namespace causeway::iommu::vtd {

using namespace hw::vtd;

PasidEntry encode(const PasidContext& context) {
  PasidEntry entry{};
  entry.w[0] = PasidPresent::make(context.present) | PasidFaultDisable::make(context.fault_disable) |
               PasidWidth::make(context.width) | PasidType::make(context.type) |
               PasidSecondStageDirty::make(context.dirty_tracking) | (context.second_stage.value() & kAddressMask);
  entry.w[1] = PasidDomain::make(static_cast<uint16_t>(context.domain)) |
               PasidWalkSnoop::make(context.page_walk_snoop) | PasidPageSnoop::make(context.page_snoop);
  entry.w[2] = PasidSupervisor::make(context.supervisor) | PasidFirstStageMode::make(context.five_levels) |
               PasidWriteProtect::make(context.write_protect) |
               PasidExtendedAccessed::make(context.extended_accessed) | (context.first_stage.value() & kAddressMask);
  return entry;
}

PasidContext decode(const PasidEntry& entry) {
  return {.present = PasidPresent::get(entry.w[0]) != 0,
          .fault_disable = PasidFaultDisable::get(entry.w[0]) != 0,
          .type = static_cast<PasidTranslation>(PasidType::get(entry.w[0])),
          .domain = DomainId(static_cast<uint16_t>(PasidDomain::get(entry.w[1]))),
          .page_walk_snoop = PasidWalkSnoop::get(entry.w[1]) != 0,
          .page_snoop = PasidPageSnoop::get(entry.w[1]) != 0,
          .width = static_cast<unsigned>(PasidWidth::get(entry.w[0])),
          .second_stage = PhysAddr(entry.w[0] & kAddressMask),
          .dirty_tracking = PasidSecondStageDirty::get(entry.w[0]) != 0,
          .first_stage = PhysAddr(entry.w[2] & kAddressMask),
          .five_levels = PasidFirstStageMode::get(entry.w[2]) == 1,
          .write_protect = PasidWriteProtect::get(entry.w[2]) != 0,
          .supervisor = PasidSupervisor::get(entry.w[2]) != 0,
          .extended_accessed = PasidExtendedAccessed::get(entry.w[2]) != 0};
}

PasidContext first_stage_entry(DomainId domain, PhysAddr top, bool five_levels, const Capabilities& caps) {
  return {.type = kFirstStage,
          .domain = domain,
          .page_walk_snoop = caps.coherent_page_walks(true),
          .first_stage = top,
          .five_levels = five_levels};
}

PasidContext second_stage_entry(DomainId domain, PhysAddr top, unsigned width, const Capabilities& caps) {
  return {.type = kSecondStage,
          .domain = domain,
          .page_walk_snoop = caps.coherent_page_walks(true),
          .width = width,
          .second_stage = top};
}

PasidContext pass_through_entry(DomainId domain, const Capabilities& caps) {
  return {.type = kPasidPassThrough,
          .domain = domain,
          .page_walk_snoop = caps.coherent_page_walks(true),
          .width = caps.widest()};
}

}  // namespace causeway::iommu::vtd
