// The IOMMU core: drivers, devices, groups and their default domains (drivers/iommu/iommu.c).
//
//   Core core({.default_type = DomainType::kDmaFq});
//   core.register_driver(vtd);
//   Device* device = CW_TRY(core.probe_device(info));        // grouped, and on its default domain
//   IommuDma::create(dma, *device->group().default_domain(), ...);
//
// A device that the old kernel preserved comes back on the domain it was on (liveupdate/live_update.h), and its
// hardware is not touched: of a kernel driver's device that domain becomes the default one; a device with an owner's
// token is owned by that token until the next reboot.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "iommu/driver.h"
#include "iommu/group.h"

namespace causeway::iommu {

class LiveUpdate;

struct CoreOptions {
  DomainType default_type = DomainType::kDmaFq;  // iommu.passthrough=1: kIdentity; iommu.strict=1: kDma
  bool strict_untrusted = true;                  // untrusted devices are strict whatever the rest is
};

class Core {
 public:
  explicit Core(const CoreOptions& options);
  Core() : Core(CoreOptions{}) {}
  // The end of its kernel: no driver is called, and nothing of the devices that are still there is freed, because their
  // hardware goes on. For a clean end release them first.
  ~Core();

  void register_driver(Driver& driver);
  // Before any device is probed. Outlives the core.
  void set_live_update(LiveUpdate* live_update) { live_update_ = live_update; }

  // The handover could not be read, so any device may be in it: from now on probe_device() is EIO for those it does not
  // know, and touches nothing.
  void refuse_devices(std::string reason);

  // ENODEV: behind no IOMMU; EEXIST; EIO: the old kernel preserved it, or a device it shares a group with, and it could
  // not be brought back: it goes on as it was, and nobody gets it; EBUSY: it would join a group that is in use and
  // needs another default domain, or one with PASIDs, or one that is restored for its owner; EINVAL: its aliases belong
  // to two groups, or the drivers of a group's devices insist on different types. Errors of the driver. A failure
  // leaves no trace, but EIO's, and a type that was changed to let the device in.
  Result<Device*> probe_device(DeviceInfo info);
  // Blocked, or identity if its direct regions must stay reachable, before the driver forgets it. The last one of a
  // group takes the group with it. A device that is held for its owner in the kernel before stays, with a word in the
  // log.
  void release_device(Device& device);
  Device* find(uint16_t segment, Bdf bdf) const;
  std::vector<Device*> devices() const;
  std::vector<Group*> groups() const;  // by id; quarantined ones too
  // The files of iommu_groups/N.
  struct GroupView {
    uint32_t id = 0;
    std::string type;                  // "DMA-FQ"
    std::vector<std::string> devices;  // names; a quarantined one too
    std::string reserved_regions;      // a line each
    std::string note;                  // "owned", "restored for token 0x12", why it is quarantined; or nothing
  };
  std::vector<GroupView> view_groups() const;
  // As written to iommu_groups/N/type: "identity", "DMA", "DMA-FQ", "auto". ENOENT: no such group; EINVAL: none of
  // these; and those of Group::change_default_type().
  Status write_group_type(uint32_t id, std::string_view type);
  // Devices that the old kernel preserved and this one could not take over: name and reason.
  struct Quarantined {
    uint16_t segment;
    Bdf bdf;
    std::string reason;
  };
  std::vector<Quarantined> quarantined() const;

  // Faults of all devices, as drivers report them. Handlers run on the reporting thread, several at a time, and neither
  // add nor remove any. The token removes one: afterwards it does not run any more.
  using FaultHandler = std::function<void(const FaultReport&)>;
  unsigned on_fault(FaultHandler handler);
  void remove_fault_handler(unsigned token);
  void report_fault(const FaultReport& report);  // not from within the core's calls of a driver

 private:
  struct State;
  Result<Group*> group_for(Device& device);
  Group& make_group();
  void drop_if_empty(Group& group);
  Status probe_driver(Device& device);
  abi::DeviceSer* find_preserved(const Device& device) const;
  Status set_up(Group& group, Device& device);
  Status take_over(Group& group, Device& device, abi::DeviceSer& ser);
  tl::unexpected<Error> quarantine(Group& group, std::unique_ptr<Device> device, const Error& why);
  const CoreOptions options_;
  LiveUpdate* live_update_ = nullptr;
  std::unique_ptr<State> state_;
};

}  // namespace causeway::iommu
