// The old kernel's side: what is handed over.
#include <atomic>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "base/point.h"
#include "iommu/liveupdate/live_update_state.h"

namespace causeway::iommu {

namespace {

// Word by word: the copy may be live already, and the next kernel may find it between any two stores. What a driver adds to
// a live record are pages that are preserved before.
void copy_driver_part(const abi::IommuHwSer& from, abi::IommuHwSer& to) {
  constexpr size_t kFrom = sizeof(abi::IommuHdrSer);
  static_assert((sizeof(from) - kFrom) % sizeof(uint64_t) == 0);
  for (size_t at = kFrom; at < sizeof(from); at += sizeof(uint64_t)) {
    uint64_t word;
    std::memcpy(&word, reinterpret_cast<const std::byte*>(&from) + at, sizeof(word));
    auto* target = reinterpret_cast<uint64_t*>(reinterpret_cast<std::byte*>(&to) + at);
    if (std::atomic_ref(*target).load(std::memory_order_relaxed) == word) continue;
    std::atomic_ref(*target).store(word, std::memory_order_release);
    CW_POINT("iommu.live_update.in_unit_copy");
  }
}

}  // namespace

Result<PhysAddr> LiveUpdate::create(Carrier carrier) {
  sync::MutexLock lock(mutex_);
  auto& state = state_->outgoing[static_cast<size_t>(carrier)];
  if (state != nullptr) return fail(EBUSY, "the arrays have been made already");
  state = CW_TRY(PreservedState::create(pages_));
  return state->phys();
}

void LiveUpdate::destroy(Carrier carrier) {
  sync::MutexLock lock(mutex_);
  State& s = *state_;
  auto& state = s.outgoing[static_cast<size_t>(carrier)];
  if (state == nullptr) return;
  // Whoever gives up a carrier has given up what is in it; if not, nobody but us can.
  std::vector<Device*> devices;
  for (const auto& [device, preserved] : s.devices)
    if (preserved.carrier == carrier) devices.push_back(const_cast<Device*>(device));
  std::vector<Domain*> domains;
  for (const auto& [domain, preserved] : s.domains)
    if (preserved.carrier == carrier) domains.push_back(const_cast<Domain*>(domain));
  if (!devices.empty() || !domains.empty())
    log::warn("iommu", "the {} carrier is given up with {} devices and {} domains preserved", name_of(carrier),
              devices.size(), domains.size());
  for (Device* device : devices) unpreserve_device_locked(*device);
  for (Domain* domain : domains) unpreserve_domain_locked(*domain);
  state->unpreserve();
  state.reset();
}

Status LiveUpdate::preserve_domain(Carrier carrier, Domain& domain) {
  IoPageTable* table = domain.page_table();
  if (table == nullptr) return fail(EOPNOTSUPP, "the domain has no page table");
  sync::MutexLock lock(mutex_);
  State& s = *state_;
  PreservedState* out = s.outgoing_of(carrier);
  if (out == nullptr) return fail(ENODATA, "nothing is handed over by this carrier");
  if (s.domains.contains(&domain)) return fail(EBUSY, "the domain is preserved already");
  CW_FAIL_POINT("iommu.live_update.domain_slot");
  auto* ser = CW_TRY(out->add<abi::DomainSer>());
  CW_FAIL_POINT("iommu.live_update.domain_table");
  const IoPageTable::Preserved preserved = CW_TRY(table->preserve());
  ser->top_table_phys = preserved.top.value();
  ser->top_level = preserved.level;
  ser->vasz = preserved.vasz_lg2;
  ser->sign_extend = preserved.sign_extend ? 1 : 0;
  CW_POINT("iommu.live_update.domain_filled");
  out->publish(ser);
  s.domains.emplace(&domain, State::PreservedDomain{carrier, ser});
  return {};
}

void LiveUpdate::unpreserve_domain(Domain& domain) {
  sync::MutexLock lock(mutex_);
  unpreserve_domain_locked(domain);
}

void LiveUpdate::unpreserve_domain_locked(Domain& domain) {
  State& s = *state_;
  auto found = s.domains.find(&domain);
  if (found == s.domains.end()) return;
  s.outgoing_of(found->second.carrier)->remove(found->second.ser);
  domain.page_table()->unpreserve();
  s.domains.erase(found);
}

Result<abi::IommuHwSer*> LiveUpdate::hold_unit(Carrier carrier, Unit& unit) {
  const auto index = static_cast<size_t>(carrier);
  auto [found, first] = state_->units.try_emplace(&unit);
  State::PreservedUnit& preserved = found->second;
  auto hold = [&]() CW_NO_THREAD_SAFETY_ANALYSIS -> Status {
    if (first) {
      CW_FAIL_POINT("iommu.live_update.unit");
      CW_TRY(unit.preserve(preserved.driver));
    }
    if (preserved.copies[index] != nullptr) return {};
    PreservedState& out = *state_->outgoing_of(carrier);
    auto slot = out.add<abi::IommuHwSer>();
    if (!slot.has_value()) {
      if (first) unit.unpreserve(preserved.driver);
      return fail(slot.error());
    }
    copy_driver_part(preserved.driver, **slot);
    out.publish(*slot);
    preserved.copies[index] = *slot;
    return {};
  };
  if (Status held = hold(); !held.has_value()) {
    if (first) state_->units.erase(found);
    return fail(held.error());
  }
  preserved.copies[index]->hdr.ref_count = ++preserved.devices[index];
  return preserved.copies[index];
}

void LiveUpdate::drop_unit(Carrier carrier, Unit& unit) {
  const auto index = static_cast<size_t>(carrier);
  auto found = state_->units.find(&unit);
  State::PreservedUnit& preserved = found->second;
  if (--preserved.devices[index] > 0) {
    preserved.copies[index]->hdr.ref_count = preserved.devices[index];
    return;
  }
  state_->outgoing_of(carrier)->remove(std::exchange(preserved.copies[index], nullptr));
  for (unsigned devices : preserved.devices)
    if (devices > 0) return;
  unit.unpreserve(preserved.driver);
  state_->units.erase(found);
}

Status LiveUpdate::preserve_device(Carrier carrier, Domain& domain, Device& device, uint64_t owner_token) {
  if (!device.info().pci) return fail(EOPNOTSUPP, "not a PCI device");
  // Asked first: a group's lock is taken before ours.
  const bool owned = device.group().is_owned();
  const bool alone = device.group().devices().size() == 1;
  if (carrier == Carrier::kSession && !owned) return fail(EINVAL, "nobody owns the device's group");
  Driver& driver = device.driver();
  if (!driver.can_hand_over()) return fail(EOPNOTSUPP, "the IOMMU cannot hand over devices");

  sync::MutexLock lock(mutex_);
  State& s = *state_;
  PreservedState* out = s.outgoing_of(carrier);
  if (out == nullptr) return fail(ENODATA, "nothing is handed over by this carrier");
  auto on = s.domains.find(&domain);
  if (on == s.domains.end() || on->second.carrier != carrier)
    return fail(EINVAL, "the device's domain is not preserved by this carrier");
  if (s.devices.contains(&device)) return fail(EBUSY, "the device is preserved already");
  CW_FAIL_POINT("iommu.live_update.device_slot");
  auto* ser = CW_TRY(out->add<abi::DeviceSer>());
  Unit& unit = device.unit();
  const abi::IommuHwSer* unit_ser = CW_TRY(hold_unit(carrier, unit));

  ser->devid = device.bdf().value();
  ser->pci_domain_nr = device.info().segment;
  ser->dma_owner_token = owner_token;
  ser->map.domain_phys = out->phys_of(on->second.ser);
  ser->map.iommu_phys = out->phys_of(unit_ser);
  if (Status preserved = driver.preserve_device(device, domain, *ser); !preserved.has_value()) {
    drop_unit(carrier, unit);
    return fail(preserved.error());
  }
  if (!alone) {
    driver.unpreserve_device(device, *ser);
    drop_unit(carrier, unit);
    return fail(EOPNOTSUPP, "the device shares its group");
  }
  CW_POINT("iommu.live_update.device_filled");
  // What the driver has added for this device, in every copy: the other carrier's devices are behind the same tables.
  const State::PreservedUnit& preserved_unit = s.units.at(&unit);
  for (abi::IommuHwSer* copy : preserved_unit.copies)
    if (copy != nullptr) copy_driver_part(preserved_unit.driver, *copy);
  out->publish(ser);
  s.devices.emplace(&device, State::PreservedDevice{carrier, ser, &unit});
  return {};
}

void LiveUpdate::unpreserve_device(Device& device) {
  sync::MutexLock lock(mutex_);
  unpreserve_device_locked(device);
}

void LiveUpdate::unpreserve_device_locked(Device& device) {
  State& s = *state_;
  auto found = s.devices.find(&device);
  if (found == s.devices.end()) return;
  const State::PreservedDevice preserved = found->second;
  s.outgoing_of(preserved.carrier)->remove(preserved.ser);
  device.driver().unpreserve_device(device, *preserved.ser);
  drop_unit(preserved.carrier, *preserved.unit);
  s.devices.erase(found);
}

bool LiveUpdate::is_preserved(const Device& device) const {
  sync::MutexLock lock(mutex_);
  return state_->devices.contains(&device);
}
bool LiveUpdate::is_preserved(const Domain& domain) const {
  sync::MutexLock lock(mutex_);
  return state_->domains.contains(&domain);
}
bool LiveUpdate::is_preserved(const Unit& unit) const {
  sync::MutexLock lock(mutex_);
  return state_->units.contains(&unit);
}

}  // namespace causeway::iommu
