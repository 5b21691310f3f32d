// The Intel VT-d driver: every remapping unit the firmware names, and the devices behind them.
//
//   Core core;
//   auto vtd = CW_TRY(VtdDriver::create(platform, pages, &live_update,
//                                       {.on_fault = [&](const FaultReport& fault) { core.report_fault(fault); }}));
//   core.register_driver(*vtd);
//   ...
//   vtd->shut_down();                // the last thing before an orderly kexec
//
// Translation is on when create() returns, for all units, and every device that was not handed over is blocked. A unit whose
// devices were handed over has never stopped translating. LiveUpdate::retrieve() comes before.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "iommu/driver.h"
#include "iommu/vtd/dmar.h"
#include "iommu/vtd/environment.h"
#include "iommu/vtd/options.h"
#include "iommu/vtd/unit.h"
#include "iommu/vtd/vtd_domain.h"
#include "sync/guarded.h"

namespace causeway::iommu::vtd {

class VtdDriver final : public Driver {
 public:
  // ENODEV: the firmware names no unit; EINVAL: its table is damaged. A unit that fails is left out: see units().
  static Result<std::unique_ptr<VtdDriver>> create(platform::Platform& platform, IommuPages& pages, LiveUpdate* live_update,
                                                   VtdOptions options, const VtdFaults& faults = {});
  ~VtdDriver() override;

  const char* name() const override { return "vt-d"; }
  // EIO: the unit, or what the old kernel handed over of the device, could not be taken over.
  Result<Unit*> probe_device(Device& device) override;
  void release_device(Device& device) override;
  std::optional<DomainType> default_domain_type(const Device& device) override;
  std::vector<ReservedRegion> reserved_regions(const Device& device) override;
  Result<std::unique_ptr<Domain>> alloc_paging(Device& device, DomainType type, uint32_t flags) override;
  Domain& identity_domain() override { return identity_; }
  Domain& blocked_domain() override { return blocked_; }
  bool is_attach_deferred(const Device& device) override;

  Status preserve_device(Device& device, Domain& domain, abi::DeviceSer& ser) override;
  void unpreserve_device(Device& device, abi::DeviceSer& ser) override;
  Result<std::unique_ptr<Domain>> alloc_restored(Device& device, const abi::DeviceSer& ser, const abi::DomainSer& domain,
                                                 DomainType type) override;
  Status restore_device(Device& device, Domain& domain, const abi::DeviceSer& ser) override;

  // The kernel ends in order: units without preserved devices stop translating, the others go on for those alone. Nothing may
  // be attached or mapped any more. The first error; the other units are shut down all the same.
  Status shut_down();
  // The jump did not happen: what was cut off is translated again, as before. The first error.
  Status undo_shut_down();
  void set_faults(const VtdFaults& faults);

  std::vector<VtdUnit*> units() const;
  const DmarTable& firmware() const { return firmware_; }

 private:
  VtdDriver(platform::Platform& platform, IommuPages& pages, LiveUpdate* live_update, VtdOptions options,
            DmarTable firmware);
  void start_units();
  VtdUnit* unit_of(const DeviceInfo& info) const;
  Status set_up_tables(VtdDevice& device);
  Status adopt_tables(VtdDevice& device, const abi::DeviceSer& ser);

  Environment environment_;
  const DmarTable firmware_;
  std::vector<std::unique_ptr<VtdUnit>> units_;
  IdentityDomain identity_{*this};
  BlockedDomain blocked_{*this};
  sync::Guarded<std::vector<VtdDevice*>> devices_{sync::LockName{"iommu.vtd.devices"}};
};

}  // namespace causeway::iommu::vtd
