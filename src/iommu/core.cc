// Lock order: the core's mutex, a group's, the live update's, the driver's. The core's is held for the whole of a
// probe, so that nobody sees a device before its group has a domain; fault handlers have a lock of their own, since a
// fault comes while a driver attaches.
#include "iommu/core.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "iommu/core_state.h"
#include "iommu/default_domain.h"

namespace causeway::iommu {

using sync::MutexLock;

namespace {

// What is left of kernels that ended with their devices running: the destructors would free tables that the hardware,
// and the next kernel, go on using.
struct Graveyard {
  std::vector<std::unique_ptr<Domain>> domains;
  std::vector<std::unique_ptr<Device>> devices;
};
sync::Guarded<Graveyard>& graveyard() {
  static auto* the_one = new sync::Guarded<Graveyard>(sync::LockName{"iommu.graveyard"});
  return *the_one;
}

std::vector<Bdf> ids_of(const DeviceInfo& info) {
  std::vector<Bdf> ids = info.aliases;
  ids.push_back(info.bdf);
  return ids;
}

bool share_group(const DeviceInfo& a, const DeviceInfo& b) {
  if (a.isolation != 0 && a.isolation == b.isolation) return true;
  if (a.segment != b.segment) return false;
  for (Bdf mine : ids_of(a))
    for (Bdf theirs : ids_of(b))
      if (mine == theirs) return true;
  return false;
}

}  // namespace

Core::Core(const CoreOptions& options) : options_(options), state_(std::make_unique<State>()) {}

Core::~Core() {
  MutexLock lock(state_->mutex);
  auto bury = [](auto list, auto&& what) {
    graveyard().with([&](Graveyard& dead) { (dead.*list).push_back(std::move(what)); });
  };
  for (auto& group : state_->groups) {
    MutexLock group_lock(group->mutex_);
    if (group->own_default_) bury(&Graveyard::domains, group->own_default_);
  }
  for (auto& device : state_->devices) bury(&Graveyard::devices, device);
  for (auto& entry : state_->quarantined) bury(&Graveyard::devices, entry.device);
}

void Core::register_driver(Driver& driver) {
  MutexLock lock(state_->mutex);
  state_->drivers.push_back(&driver);
}

void Core::refuse_devices(std::string reason) {
  MutexLock lock(state_->mutex);
  log::error("iommu", "devices are not touched any more: {}", reason);
  state_->refused = std::move(reason);
}

Device* Core::find(uint16_t segment, Bdf bdf) const {
  MutexLock lock(state_->mutex);
  for (const auto& device : state_->devices)
    if (device->info().segment == segment && device->bdf() == bdf) return device.get();
  return nullptr;
}

std::vector<Device*> Core::devices() const {
  MutexLock lock(state_->mutex);
  std::vector<Device*> all;
  for (const auto& device : state_->devices) all.push_back(device.get());
  return all;
}

std::vector<Group*> Core::groups() const {
  MutexLock lock(state_->mutex);
  std::vector<Group*> all;
  for (const auto& group : state_->groups) all.push_back(group.get());
  return all;
}

std::vector<Core::Quarantined> Core::quarantined() const {
  MutexLock lock(state_->mutex);
  std::vector<Quarantined> all;
  for (const auto& entry : state_->quarantined)
    all.push_back({entry.device->info().segment, entry.device->bdf(), entry.reason});
  return all;
}

Group& Core::make_group() {
  state_->mutex.assert_held();
  auto& groups = state_->groups;  // by id; the lowest free one is taken
  uint32_t id = 0;
  auto at = groups.begin();
  for (; at != groups.end() && (*at)->id() == id; ++at) ++id;
  DefaultDomainRules rules{options_.default_type, options_.strict_untrusted};
  return **groups.insert(at, std::make_unique<Group>(id, rules));
}

void Core::drop_if_empty(Group& group) {
  state_->mutex.assert_held();
  {
    MutexLock lock(group.mutex_);
    if (!group.devices_.empty() || group.hold_ != Group::Hold::kNone) return;
  }
  std::erase_if(state_->groups, [&](const auto& entry) { return entry.get() == &group; });
}

// The group of whatever cannot be told apart from it, or a new one.
Result<Group*> Core::group_for(Device& device) {
  state_->mutex.assert_held();
  Group* found = nullptr;
  auto look = [&](const Device& other) -> Status {
    if (!share_group(device.info(), other.info())) return {};
    if (found != nullptr && found != other.group_)
      return fail(EINVAL, "the device cannot be told apart from those of two groups");
    found = other.group_;
    return {};
  };
  for (const auto& other : state_->devices) CW_TRY(look(*other));
  for (const auto& other : state_->quarantined) CW_TRY(look(*other.device));
  return found != nullptr ? found : &make_group();
}

Status Core::probe_driver(Device& device) {
  state_->mutex.assert_held();
  for (Driver* driver : state_->drivers) {
    Result<Unit*> unit = driver->probe_device(device);
    if (unit) {
      device.unit_ = *unit;
      device.needs_direct_ = needs_direct(device);
      return {};
    }
    if (unit.error().code != Errno{ENODEV}) return fail(unit.error());
  }
  return fail(ENODEV, "behind no IOMMU");
}

Status Core::set_up(Group& group, Device& device) {
  // Before the driver is asked: its probe may touch tables that a quarantined device is translated by.
  {
    MutexLock lock(group.mutex_);
    CW_TRY(group.check_hold_locked());
  }
  CW_TRY(probe_driver(device));
  device.attach_deferred_.store(device.driver().is_attach_deferred(device), std::memory_order_release);
  MutexLock lock(group.mutex_);
  device.group_ = &group;
  Status done = group.devices_.empty() ? group.add_first_locked(device) : group.join_locked(device);
  if (!done) device.driver().release_device(device);
  return done;
}

Result<Device*> Core::probe_device(DeviceInfo info) {
  MutexLock lock(state_->mutex);
  for (const auto& other : state_->devices)
    if (other->info().segment == info.segment && other->bdf() == info.bdf)
      return fail(EEXIST, "the device is known already");
  for (const auto& other : state_->quarantined)
    if (other.device->info().segment == info.segment && other.device->bdf() == info.bdf)
      return fail(EIO, "the device could not be taken over and stays as it is");
  if (!state_->refused.empty()) {
    log::error("iommu", "{}: is left as it is: {}", info.name, state_->refused);
    return fail(EIO, "devices are left as they are");
  }

  auto device = std::make_unique<Device>(std::move(info));
  abi::DeviceSer* ser = find_preserved(*device);
  Result<Group*> group = group_for(*device);
  if (!group) {
    if (ser == nullptr) return fail(group.error());
    return quarantine(make_group(), std::move(device), group.error());
  }
  if (ser != nullptr) {
    if (Status done = take_over(**group, *device, *ser); !done)
      return quarantine(**group, std::move(device), done.error());
  } else if (Status done = set_up(**group, *device); !done) {
    drop_if_empty(**group);
    return fail(done.error());
  }
  state_->devices.push_back(std::move(device));
  return state_->devices.back().get();
}

void Core::release_device(Device& device) {
  MutexLock lock(state_->mutex);
  Group& group = device.group();
  {
    MutexLock group_lock(group.mutex_);
    if (group.hold_ == Group::Hold::kRestored) {
      log::error("iommu", "{}: is held for its owner in the kernel before, and stays", device.name());
      return;
    }
    group.remove_locked(device);
  }
  device.driver().release_device(device);
  std::erase_if(state_->devices, [&](const auto& entry) { return entry.get() == &device; });
  drop_if_empty(group);
}

unsigned Core::on_fault(FaultHandler handler) {
  return state_->faults.with([&](FaultHandlers& faults) {
    faults.handlers.emplace(++faults.last_token, std::move(handler));
    return faults.last_token;
  });
}

void Core::remove_fault_handler(unsigned token) {
  state_->faults.with([&](FaultHandlers& faults) { faults.handlers.erase(token); });
}

void Core::report_fault(const FaultReport& report) {
  state_->faults.with_shared([&](const FaultHandlers& faults) {
    for (const auto& [token, handler] : faults.handlers) handler(report);
  });
}

}  // namespace causeway::iommu
