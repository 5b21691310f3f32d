// What a driver of IOMMU hardware implements (struct iommu_ops), and one piece of that hardware (struct iommu_device).
//
//   class VtdDriver final : public Driver { ... };
//   core.register_driver(vtd);
//
// The core calls everything but the live update functions under the lock of the device's group, or, in probe_device() and
// release_device(), under its own.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "iommu/abi/iommu_v1.h"
#include "iommu/device.h"
#include "iommu/domain.h"
#include "iommu/reserved_region.h"

namespace causeway::iommu {

// A remapping unit.
class Unit {
 public:
  Unit(Driver& driver, std::string name) : driver_(driver), name_(std::move(name)) {}
  virtual ~Unit() = default;
  Driver& driver() const { return driver_; }
  const std::string& name() const { return name_; }  // "dmar0"

  // -- Live update: the tables that all devices of the unit share. preserve() fills in token, type and the rest of the
  // record, but not its header. Called once for the first preserved device, under the live update's lock. The record stays
  // where it is until unpreserve(); what preserve_device() of a later device adds to it counts from that device on.
  virtual Status preserve(abi::IommuHwSer&) { return fail(EOPNOTSUPP, "the IOMMU cannot be handed over"); }
  virtual void unpreserve(abi::IommuHwSer&) {}

 private:
  Driver& driver_;
  const std::string name_;
};

// Flags of alloc_paging() (IOMMU_HWPT_ALLOC_*, the uAPI's values).
enum AllocFlag : uint32_t { kNestParent = 1u << 0, kDirtyTracking = 1u << 1, kFaultIdValid = 1u << 2, kAllocPasid = 1u << 3 };

// A fault of a device (IOMMU_FAULT_*).
struct FaultReport {
  Bdf source;
  Pasid pasid = kInvalidPasid;
  Iova address;
  bool write = false;
  uint8_t reason = 0;  // the hardware's
  std::string text;    // the same in words
};

class Driver {
 public:
  virtual ~Driver() = default;
  virtual const char* name() const = 0;  // "vt-d"

  // The unit a device is behind, after everything it needs to be attached was set up. ENODEV: none of mine.
  virtual Result<Unit*> probe_device(Device& device) = 0;
  virtual void release_device(Device& device) = 0;
  // The default domain's type, if the driver insists.
  virtual std::optional<DomainType> default_domain_type(const Device&) { return std::nullopt; }
  virtual std::vector<ReservedRegion> reserved_regions(const Device& device) = 0;

  // EOPNOTSUPP: a flag, or the device's hardware. `type` is kUnmanaged, kDma or kDmaFq.
  virtual Result<std::unique_ptr<Domain>> alloc_paging(Device& device, DomainType type, uint32_t flags) = 0;
  virtual Domain& identity_domain() = 0;
  virtual Domain& blocked_domain() = 0;
  // The device is translated by tables of a crashed kernel until its driver maps something.
  virtual bool is_attach_deferred(const Device&) { return false; }

  // -- Live update. Errors are of spec: EOPNOTSUPP what cannot be handed over, EINVAL not attached.
  // No: preserve_device() is refused before anything else is looked at.
  virtual bool can_hand_over() const { return true; }
  // Fills in iommu_dev_map.attachment_id and the driver's part of the record.
  virtual Status preserve_device(Device&, Domain&, abi::DeviceSer&) {
    return fail(EOPNOTSUPP, "the IOMMU cannot hand over devices");
  }
  virtual void unpreserve_device(Device&, abi::DeviceSer&) {}
  // An empty domain for a device that the old kernel preserved, of the format that its tables are in.
  virtual Result<std::unique_ptr<Domain>> alloc_restored(Device&, const abi::DeviceSer&, const abi::DomainSer&,
                                                         DomainType) {
    return fail(EOPNOTSUPP, "the IOMMU cannot take devices over");
  }
  // The device goes on being translated by `domain`, whose tables have been restored: bookkeeping alone, no hardware entry
  // is touched. On failure the software's state is undone and the hardware goes on translating.
  virtual Status restore_device(Device&, Domain& /*domain*/, const abi::DeviceSer&) {
    return fail(EOPNOTSUPP, "the IOMMU cannot take devices over");
  }
};

inline Driver& Device::driver() const { return unit_->driver(); }

}  // namespace causeway::iommu
