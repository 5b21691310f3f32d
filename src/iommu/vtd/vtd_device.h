// What the VT-d driver keeps for each device (iommu_dev_priv): where its entries are and what they say.
//
// Changed under the lock of the device's group, or while it is probed.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "iommu/device.h"
#include "iommu/vtd/pasid_table.h"
#include "iommu/vtd/unit.h"

namespace causeway::iommu::vtd {

class VtdDomain;

struct VtdDevice final : DeviceData {
  VtdDevice(Device& of, VtdUnit& behind) : device(of), unit(behind) {}
  static VtdDevice& of(const Device& device) { return *device.data<VtdDevice>(); }

  // Of a unit with copied tables: still the crashed kernel's entry.
  bool is_copied() const { return unit.root().is_copied(device.bdf()); }

  Device& device;
  VtdUnit& unit;
  std::vector<Bdf> requesters;         // its own id first, then what else its requests may carry
  std::unique_ptr<PasidTable> pasids;  // scalable mode
  bool can_ats = false;                // and so may have a device-TLB
  bool ats_on = false;
  bool can_request_pages = false;
  std::set<Pasid> asking;              // address spaces in which it may ask for pages
  VtdDomain* domain = nullptr;         // null: blocked
  DomainId id{0};                      // of `domain`
  struct PasidUse {
    VtdDomain* domain;
    DomainId id;
  };
  std::map<Pasid, PasidUse> pasid_domains;
  std::atomic<bool> handed_over{false};  // preserved for the next kernel
};

}  // namespace causeway::iommu::vtd
