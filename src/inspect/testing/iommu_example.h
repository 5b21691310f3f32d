// A handover with IOMMU state: a unit, two devices on domains of their own, a third on the first one's.
//
//   IommuExample image(IommuExample::Mode::kScalable);
//   image.map(0, 0x10000, 0x300000, 0);                 // domain 0, one page
//   Decoded decoded(image.core());
//
// Scalable: domain 0 is of the first stage and sign-extended, domain 1 of the second. Legacy: both are of the second.
#pragma once

#include "hw/vtd.h"
#include "iommu/abi/iommu_v1.h"
#include "inspect/testing/image_builder.h"

namespace causeway::inspect {

class IommuExample : public ImageBuilder {
 public:
  enum class Mode { kLegacy, kScalable };
  static constexpr uint64_t kRecord = 0x101000, kUnits = 0x102000, kDomains = 0x103000, kDevices = 0x104000,
                            kRoot = 0x105000, kContext = 0x106000, kDirectory = 0x110000, kPasids = 0x118000,
                            kTables = 0x120000, kMemory = 0x300000, kLargeMemory = 0x400000,
                            kUnitRegisters = 0xfed90000;
  static constexpr uint64_t kDeviceRecords = kDevices + sizeof(iommu::abi::IommuArrayHdrSer);
  static constexpr unsigned kLevel = 3;

  explicit IommuExample(Mode mode, const char* carrier = iommu::abi::kCompatible)
      : ImageBuilder(kho::Format::kV4, 0x180000), mode_(mode) {
    using namespace iommu::abi;
    for (uint64_t at = kFdt; at <= kContext; at += kPageSize) preserve(at, 0);
    put(kRecord, IommuFlbSer{kVersion, kUnits, kDomains, kDevices});
    put(kUnits, IommuArrayHdrSer{0, 1});
    IommuHwSer unit{.hdr = {3, 0}, .token = kUnitRegisters, .type = UnitType::kIntel, .intel = {}};
    unit.intel.phys_addr = kUnitRegisters;
    unit.intel.root_table = kRoot;
    unit.intel.context_tables_bitmap[0] = 1;
    put(kUnits + sizeof(IommuArrayHdrSer), unit);
    put(kRoot, uint64_t{kContext | 1});
    put(kDomains, IommuArrayHdrSer{0, 3});
    for (unsigned i = 0; i < 2; ++i) {
      top_[i] = new_table();
      put(domain_record(i), DomainSer{.hdr = {1, 0}, .top_table_phys = top_[i], .top_level = kLevel, .vasz = 48,
                                      .sign_extend = is_first(i), .pad = {}, .restored_domain = 0});
    }
    put(domain_record(2), DomainSer{.hdr = {1, kDeleted}, .top_table_phys = 1, .top_level = 99, .vasz = 0, .sign_extend = 0,
                                    .pad = {}, .restored_domain = 0});
    device(Bdf(0, 1, 0), 0, 2, 0);
    device(Bdf(0, 2, 0), 1, 3, 0x654321);
    device(Bdf(0, 3, 1), 0, 2, 0);
    map(0, 0x1000, kMemory, 0);
    map(0, 0x2000, kMemory + kPageSize, 0);
    map(0, 0x200000, kLargeMemory, 1);
    map(1, 0x5000, kMemory + 2 * kPageSize, 0, false);
    for (uint64_t i = 0; i < 3; ++i) preserve(kMemory + i * kPageSize, 0), (void)page(kMemory + i * kPageSize);
    preserve(kLargeMemory, 9);
    if (carrier != nullptr) subtree(carrier, kRecord, sizeof(IommuFlbSer));
  }

  static uint64_t domain_record(unsigned i) {
    return kDomains + sizeof(iommu::abi::IommuArrayHdrSer) + i * sizeof(iommu::abi::DomainSer);
  }
  static uint64_t device_record(unsigned i) { return kDeviceRecords + i * sizeof(iommu::abi::DeviceSer); }
  bool is_first(unsigned domain) const { return mode_ == Mode::kScalable && domain == 0; }
  uint64_t top(unsigned domain) const { return top_[domain]; }
  uint64_t context_entry(Bdf bdf) const {
    return kContext + (bdf.value() & 0xffu) * (mode_ == Mode::kScalable ? 32u : 16u);
  }
  // Of the entry of PASID 0.
  uint64_t pasid_entry(unsigned device) const { return kPasids + device * kPageSize; }
  uint64_t directory(unsigned device) const { return kDirectory + device * kPageSize; }

  // A leaf of 4 KiB << 9 * level.
  void map(unsigned domain, uint64_t iova, uint64_t phys, unsigned level, bool write = true) {
    using namespace hw::vtd;
    uint64_t table = top_[domain];
    for (unsigned at = kLevel; at > level; --at) {
      const uint64_t entry = table + (iova >> (12 + 9 * at) & 511) * 8;
      if (get<uint64_t>(entry) == 0) {
        const uint64_t link = new_table() | (is_first(domain) ? uint64_t{0x27} : uint64_t{3});
        put(entry, link);
      }
      table = get<uint64_t>(entry) & kEntryAddress;
    }
    const uint64_t bits = is_first(domain) ? 0x25 | (write ? 0x42u : 0u) : 1 | (write ? 2u : 0u);
    put(table + (iova >> (12 + 9 * level) & 511) * 8, phys | bits | (level > 0 ? 0x80u : 0u));
  }
  // The address of the entry of that level, whose tables are there.
  uint64_t entry(unsigned domain, uint64_t iova, unsigned level) {
    uint64_t table = top_[domain];
    for (unsigned at = kLevel; at > level; --at)
      table = get<uint64_t>(table + (iova >> (12 + 9 * at) & 511) * 8) & hw::vtd::kEntryAddress;
    return table + (iova >> (12 + 9 * level) & 511) * 8;
  }

  // A record and the entries to go with it.
  void device(Bdf bdf, unsigned domain, uint16_t did, uint64_t token) {
    using namespace iommu::abi;
    using namespace hw::vtd;
    const unsigned index = devices_++;
    DeviceSer record{.hdr = {1, 0}, .devid = bdf.value(), .pci_domain_nr = 0, .dma_owner_token = token,
                     .map = {did, domain_record(domain), kUnits + sizeof(IommuArrayHdrSer)}, .intel = {}};
    if (mode_ == Mode::kScalable) {
      record.intel.pasid_table = directory(index);
      record.intel.max_pasid = 32768;
      preserve(directory(index), 0);
      preserve(pasid_entry(index), 0);
      put(context_entry(bdf), directory(index) | 1 | ScalableDirectorySize::make(2));
      put(directory(index), pasid_entry(index) | 1);
      PasidEntry entry{};
      entry.w[0] = 1 | PasidType::make(is_first(domain) ? kFirstStage : kSecondStage);
      entry.w[1] = PasidDomain::make(did);
      if (is_first(domain)) entry.w[2] = top_[domain];
      else entry.w[0] |= top_[domain] | PasidWidth::make(kLevel - 1);
      put(pasid_entry(index), entry);
    } else {
      put(context_entry(bdf), ContextEntry{{top_[domain] | 1, ContextWidth::make(kLevel - 1) | ContextDomain::make(did)}});
    }
    put(device_record(index), record);
    put(kDevices, IommuArrayHdrSer{0, devices_});
  }
  uint64_t new_table() {
    const uint64_t table = next_table_;
    next_table_ += kPageSize;
    (void)page(table);
    preserve(table, 0);
    return table;
  }

 private:
  Mode mode_;
  uint64_t top_[2] = {};
  uint64_t next_table_ = kTables;
  unsigned devices_ = 0;
};

}  // namespace causeway::inspect
