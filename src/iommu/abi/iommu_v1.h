// What one kernel tells the next about its IOMMUs: the serialised arrays of the posted series "iommu: Add live update state
// preservation" in their last reviewed form (v4), version 1 of `iommu-liveupdate`.
//
//   IommuFlbSer --> units:   IommuArrayHdrSer, IommuHwSer[]    --> next page
//               --> domains: IommuArrayHdrSer, DomainSer[]     --> next page
//               --> devices: IommuArrayHdrSer, DeviceSer[]     --> next page
//
// Everything is little endian, packed, and physical; 0 is "none". Each array is a chain of pages. Entries are appended and
// never reused: one that was given up has kDeleted set, and every reader skips it.
//
// Two carriers point to an IommuFlbSer: the LUO FLB `iommu-liveupdate` (its data), for devices whose files are in sessions,
// and the KHO subtree of the same name (its blob), for devices of the kernel's own drivers, which are handed over whether
// or not somebody asks (docs/iommu.md). A device of the latter has dma_owner_token 0.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/types.h"

namespace causeway::iommu::abi {

inline constexpr char kCompatible[] = "iommu-liveupdate";
inline constexpr uint64_t kVersion = 1;

enum HdrFlag : uint32_t { kDeleted = 1u << 0, kIncoming = 1u << 1 };
enum class UnitType : uint64_t { kInvalid = 0, kIntel = 1, kArmSmmuV3 = 2 };

struct [[gnu::packed]] IommuHdrSer {
  uint32_t ref_count;
  uint32_t flags;  // HdrFlag
};
struct [[gnu::packed]] IommuFlbSer {
  uint64_t version;
  uint64_t iommu_array_phys;
  uint64_t iommu_domain_array_phys;
  uint64_t device_array_phys;
};
struct [[gnu::packed]] IommuArrayHdrSer {
  uint64_t next_array_phys;
  uint64_t nr_objects;
};
struct [[gnu::packed]] DomainSer {  // iommu_domain_ser
  IommuHdrSer hdr;
  uint64_t top_table_phys;
  uint64_t top_level;
  uint32_t vasz;
  uint8_t sign_extend;
  uint8_t pad[3];
  uint64_t restored_domain;  // of the new kernel alone; written as 0, and not believed
};
struct [[gnu::packed]] DeviceMapSer {  // iommu_dev_map_ser
  uint64_t attachment_id;  // VT-d: the domain id
  uint64_t domain_phys;    // of a DomainSer
  uint64_t iommu_phys;     // of an IommuHwSer
};
struct [[gnu::packed]] DeviceIntelSer {
  uint8_t restored;
  uint8_t pad[7];
  uint64_t pasid_table;  // the directory
  uint64_t max_pasid;
};
struct [[gnu::packed]] DeviceSmmuV3Ser {
  uint64_t l1_cdtab;
  uint32_t num_l2;
  uint32_t pad;
  uint64_t l2_states_phys;
};
struct [[gnu::packed]] DeviceSer {  // iommu_device_ser
  IommuHdrSer hdr;
  uint32_t devid;  // bus << 8 | devfn
  uint32_t pci_domain_nr;
  uint64_t dma_owner_token;
  DeviceMapSer map;
  union {
    DeviceIntelSer intel;
    DeviceSmmuV3Ser smmuv3;
  };
};
struct [[gnu::packed]] IommuIntelSer {
  uint8_t restored;
  uint8_t pad[7];
  uint64_t phys_addr;  // register base
  uint64_t root_table;
  uint64_t context_tables_bitmap[8];  // bit bus * 2 + (devfn >> 7)
};
struct [[gnu::packed]] IommuSmmuV3Ser {
  uint64_t phys;
  uint64_t strtab_base_cfg;
  uint64_t l1_state;
  uint64_t l2_states_phys;
};
struct [[gnu::packed]] IommuHwSer {
  IommuHdrSer hdr;
  uint64_t token;  // VT-d: register base
  UnitType type;
  union {
    IommuIntelSer intel;
    IommuSmmuV3Ser smmuv3;
  };
};
static_assert(sizeof(IommuHdrSer) == 8 && sizeof(IommuFlbSer) == 32 && sizeof(IommuArrayHdrSer) == 16);
static_assert(sizeof(DomainSer) == 40 && sizeof(DeviceSer) == 72 && sizeof(IommuHwSer) == 112);
static_assert(offsetof(DeviceSer, map) == 24 && offsetof(DeviceSer, intel) == 48 && offsetof(IommuHwSer, intel) == 24);

template <typename Object>
inline constexpr uint64_t kPerPage = (kPageSize - sizeof(IommuArrayHdrSer)) / sizeof(Object);
static_assert(kPerPage<DomainSer> == 102 && kPerPage<DeviceSer> == 56 && kPerPage<IommuHwSer> == 36);

}  // namespace causeway::iommu::abi
