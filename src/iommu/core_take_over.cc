// Devices that the kernel before handed over (liveupdate/live_update.h). Nothing here calls Domain::attach() or
// Driver::release_device() for one: both may touch the entries that its DMA is going through.
#include <fmt/format.h>

#include "base/log.h"
#include "base/point.h"
#include "iommu/core.h"
#include "iommu/core_state.h"
#include "iommu/default_domain.h"
#include "iommu/liveupdate/live_update.h"

namespace causeway::iommu {

using sync::MutexLock;

abi::DeviceSer* Core::find_preserved(const Device& device) const {
  return live_update_ == nullptr ? nullptr : live_update_->find_device(device.info().segment, device.bdf());
}

Status Core::take_over(Group& group, Device& device, abi::DeviceSer& ser) {
  {
    MutexLock lock(group.mutex_);
    CW_TRY(group.check_hold_locked());
    if (!group.devices_.empty()) return fail(EOPNOTSUPP, "a preserved device shares its group with another");
  }
  CW_TRY(probe_driver(device));
  CW_POINT("iommu.take_over.probed");

  MutexLock lock(group.mutex_);
  device.group_ = &group;
  const bool kernel_driver = ser.dma_owner_token == 0;
  DefaultDomain spare;
  DomainType type = DomainType::kUnmanaged;
  if (kernel_driver) {
    const bool strict = device.info().untrusted && options_.strict_untrusted;
    type = options_.default_type == DomainType::kDmaFq && !strict ? DomainType::kDmaFq : DomainType::kDma;
  } else {
    DomainType wanted = CW_TRY(choose_default_type({&device}, group.rules_, std::nullopt));
    spare = CW_TRY(make_default_domain(device, wanted));
    CW_TRY(map_direct_regions(*spare.domain, device));
  }
  Domain* domain = CW_TRY(live_update_->restored_domain(device, ser, type));
  CW_POINT("iommu.take_over.domain_restored");
  CW_TRY(device.driver().restore_device(device, *domain, ser));

  group.devices_.push_back(&device);
  group.domain_ = domain;
  if (kernel_driver) {
    group.default_domain_ = domain;
    group.default_restored_ = true;
  } else {
    group.default_domain_ = spare.domain;
    group.own_default_ = std::move(spare.own);
    group.hold_ = Group::Hold::kRestored;
    group.token_ = ser.dma_owner_token;
    group.owner_ = &ser;  // a name that no claimer can have
    group.owner_count_ = 1;
  }
  CW_POINT("iommu.take_over.done");
  log::info("iommu", "{}: goes on with the domain it was on{}", device.name(),
            kernel_driver ? "" : ", for its owner in the kernel before");
  return {};
}

// The device object stays for as long as the core, so that nobody gets another one for the same hardware.
tl::unexpected<Error> Core::quarantine(Group& group, std::unique_ptr<Device> device, const Error& why) {
  state_->mutex.assert_held();
  std::string reason = fmt::format("{}: cannot be taken over: {}", device->name(), to_string(why));
  log::error("iommu", "{}; its hardware goes on as it was, and nobody gets it", reason);
  live_update_->report_damage(reason);
  device->group_ = &group;
  {
    MutexLock lock(group.mutex_);
    // What others of the group use now goes on; it is not changed any more.
    if (group.hold_ == Group::Hold::kNone) group.hold_ = Group::Hold::kQuarantined;
    if (group.quarantine_.empty()) group.quarantine_ = reason;
  }
  state_->quarantined.push_back({std::move(device), std::move(reason)});
  return fail(EIO, "the device could not be taken over and stays as it is");
}

}  // namespace causeway::iommu
