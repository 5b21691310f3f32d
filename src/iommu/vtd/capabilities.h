// What a remapping unit can do: its CAP and ECAP registers, decoded (hw/vtd.h).
//
//   Capabilities caps(regs.read64(hw::vtd::kCap), regs.read64(hw::vtd::kEcap));
//   if (caps.scalable() && caps.first_stage()) ...
//   DomainIds ids(caps.domains());
#pragma once

#include <bit>
#include <cstdint>
#include <string>

#include "hw/vtd.h"

namespace causeway::iommu::vtd {

class Capabilities {
 public:
  Capabilities() = default;
  constexpr Capabilities(uint64_t cap, uint64_t ecap) : cap_(cap), ecap_(ecap) {}
  uint64_t cap() const { return cap_; }
  uint64_t ecap() const { return ecap_; }

  // 2^(4 + 2 * ND), at most 65536; ids 0 and 1 are never allocated.
  uint32_t domains() const {
    auto log2 = static_cast<unsigned>(4 + 2 * hw::vtd::CapDomains::get(cap_));
    return uint32_t{1} << (log2 < 16 ? log2 : 16);
  }
  bool caching_mode() const { return hw::vtd::CapCachingMode::get(cap_) != 0; }
  bool write_buffer_flush() const { return hw::vtd::CapWriteBufferFlush::get(cap_) != 0; }
  bool protected_memory() const {
    return hw::vtd::CapProtectedLow::get(cap_) != 0 || hw::vtd::CapProtectedHigh::get(cap_) != 0;
  }
  bool set_root_invalidates() const { return hw::vtd::CapEnhancedSetRoot::get(cap_) != 0; }

  // Widths are named as in the entries: 1, 2, 3 for 3, 4, 5 levels, 39, 48, 57 bits.
  bool supports_width(unsigned width) const {
    return width >= 1 && width <= 3 && (hw::vtd::CapAgaw::get(cap_) >> width & 1) != 0;
  }
  unsigned widest() const { return supports_width(3) ? 3 : supports_width(2) ? 2 : supports_width(1) ? 1 : 0; }
  static constexpr unsigned bits_of_width(unsigned width) { return 30 + 9 * width; }
  static constexpr unsigned levels_of_width(unsigned width) { return width + 2; }
  unsigned guest_address_bits() const { return static_cast<unsigned>(hw::vtd::CapMgaw::get(cap_)) + 1; }
  bool second_stage_2m() const { return (hw::vtd::CapLargePages::get(cap_) & 1) != 0; }
  bool second_stage_1g() const { return (hw::vtd::CapLargePages::get(cap_) & 2) != 0; }

  bool page_selective() const { return hw::vtd::CapPageSelective::get(cap_) != 0; }
  unsigned max_address_mask() const { return static_cast<unsigned>(hw::vtd::CapMaxAddressMask::get(cap_)); }
  bool drains_reads() const { return hw::vtd::CapDrainReads::get(cap_) != 0; }
  bool drains_writes() const { return hw::vtd::CapDrainWrites::get(cap_) != 0; }
  unsigned fault_records() const { return static_cast<unsigned>(hw::vtd::CapFaultRecords::get(cap_)) + 1; }
  uint32_t fault_record_offset() const { return static_cast<uint32_t>(hw::vtd::CapFaultOffset::get(cap_)) * 16; }
  uint32_t iotlb_offset() const { return static_cast<uint32_t>(hw::vtd::EcapIotlbOffset::get(ecap_)) * 16; }

  bool coherent() const { return hw::vtd::EcapCoherent::get(ecap_) != 0; }
  // Page tables are snooped: by SMPWC in scalable mode, by C in legacy mode.
  bool coherent_page_walks(bool in_scalable_mode) const {
    return in_scalable_mode ? hw::vtd::EcapPageWalkCoherent::get(ecap_) != 0 : coherent();
  }
  bool queued_invalidation() const { return hw::vtd::EcapQueuedInvalidation::get(ecap_) != 0; }
  bool device_tlb() const { return hw::vtd::EcapDeviceTlb::get(ecap_) != 0; }
  bool pass_through() const { return hw::vtd::EcapPassThrough::get(ecap_) != 0; }
  bool snoop_control() const { return hw::vtd::EcapSnoopControl::get(ecap_) != 0; }
  bool nested() const { return hw::vtd::EcapNested::get(ecap_) != 0; }
  bool page_requests() const { return hw::vtd::EcapPageRequest::get(ecap_) != 0; }
  bool pasid() const { return hw::vtd::EcapPasid::get(ecap_) != 0; }
  unsigned pasid_bits() const { return static_cast<unsigned>(hw::vtd::EcapPasidBits::get(ecap_)) + 1; }
  bool page_drain() const { return hw::vtd::EcapPageDrain::get(ecap_) != 0; }
  bool scalable() const { return hw::vtd::EcapScalableMode::get(ecap_) != 0; }
  bool second_stage() const { return hw::vtd::EcapSecondStage::get(ecap_) != 0; }  // in scalable mode
  bool first_stage() const { return hw::vtd::EcapFirstStage::get(ecap_) != 0; }
  bool second_stage_dirty() const { return hw::vtd::EcapSecondStageDirty::get(ecap_) != 0; }
  bool first_stage_1g() const { return hw::vtd::CapFirstStage1G::get(cap_) != 0; }
  bool first_stage_5_levels() const { return hw::vtd::CapFirstStage5Level::get(cap_) != 0; }

  // "scalable first-stage second-stage 48-bit 65536 domains ...", for the log.
  std::string describe() const;

 private:
  uint64_t cap_ = 0;
  uint64_t ecap_ = 0;
};

}  // namespace causeway::iommu::vtd
