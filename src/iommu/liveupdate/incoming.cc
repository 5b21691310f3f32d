// The new kernel's side: what was handed over.
#include <fmt/format.h>

#include <set>
#include <utility>

#include "base/log.h"
#include "base/point.h"
#include "iommu/liveupdate/live_update_state.h"

namespace causeway::iommu {

namespace {

// Each carrier is sound by itself; is it beside the other?
Status check_against(PreservedState& arrived, PreservedState& other) {
  std::set<uint64_t> tables;
  std::set<std::pair<uint32_t, uint32_t>> devices;
  other.for_each<abi::DomainSer>([&](abi::DomainSer& domain) { tables.insert(domain.top_table_phys); });
  other.for_each<abi::DeviceSer>(
      [&](abi::DeviceSer& device) { devices.emplace(uint32_t{device.pci_domain_nr}, uint32_t{device.devid}); });
  const char* reason = nullptr;
  arrived.for_each<abi::DomainSer>([&](abi::DomainSer& domain) {
    if (tables.contains(domain.top_table_phys)) reason = "both carriers have the same page table";
  });
  arrived.for_each<abi::DeviceSer>([&](abi::DeviceSer& device) {
    if (devices.contains({uint32_t{device.pci_domain_nr}, uint32_t{device.devid}}))
      reason = "both carriers have the same device";
  });
  arrived.for_each<abi::IommuHwSer>([&](abi::IommuHwSer& mine) {
    other.for_each<abi::IommuHwSer>([&](abi::IommuHwSer& theirs) {
      if (mine.token != theirs.token || mine.type != theirs.type || mine.type != abi::UnitType::kIntel) return;
      if (mine.intel.root_table != theirs.intel.root_table) reason = "the carriers have different roots of one unit";
    });
  });
  if (reason != nullptr) return fail(EBADMSG, reason);
  return {};
}

}  // namespace

Status LiveUpdate::retrieve(Carrier carrier, PhysAddr where) {
  sync::MutexLock lock(mutex_);
  auto& incoming = state_->incoming[static_cast<size_t>(carrier)];
  if (incoming != nullptr) return fail(EBUSY, "the carrier has been retrieved already");
  auto read = [&]() CW_NO_THREAD_SAFETY_ANALYSIS -> Result<std::shared_ptr<PreservedState>> {
    std::shared_ptr<PreservedState> arrived = CW_TRY(PreservedState::retrieve(pages_, where));
    for (const auto& other : state_->incoming)
      if (other != nullptr) CW_TRY(check_against(*arrived, *other));
    return arrived;
  };
  auto arrived = read();
  if (!arrived.has_value()) {
    report_locked(fmt::format("the {} carrier is not taken over: {}", name_of(carrier), to_string(arrived.error())));
    return fail(arrived.error());
  }
  incoming = std::move(*arrived);
  return {};
}

abi::IommuHwSer* LiveUpdate::find_unit(uint64_t token, abi::UnitType type) {
  sync::MutexLock lock(mutex_);
  abi::IommuHwSer* found = nullptr;
  for (const auto& incoming : state_->incoming) {
    if (incoming == nullptr || found != nullptr) continue;
    incoming->for_each<abi::IommuHwSer>([&](abi::IommuHwSer& unit) {
      if (unit.token == token && unit.type == type) found = &unit;
    });
  }
  return found;
}

abi::DeviceSer* LiveUpdate::find_device(uint16_t segment, Bdf bdf) {
  sync::MutexLock lock(mutex_);
  abi::DeviceSer* found = nullptr;
  for (const auto& incoming : state_->incoming) {
    if (incoming == nullptr) continue;
    incoming->for_each<abi::DeviceSer>([&](abi::DeviceSer& device) {
      if (device.pci_domain_nr == segment && device.devid == bdf.value()) found = &device;
    });
  }
  return found;
}

void LiveUpdate::for_each_device_of(uint64_t unit_token, const std::function<void(abi::DeviceSer&)>& visit) {
  std::vector<abi::DeviceSer*> devices;
  {
    sync::MutexLock lock(mutex_);
    for (const auto& incoming : state_->incoming) {
      if (incoming == nullptr) continue;
      incoming->for_each<abi::DeviceSer>([&](abi::DeviceSer& device) {
        if (incoming->at<abi::IommuHwSer>(device.map.iommu_phys)->token == unit_token) devices.push_back(&device);
      });
    }
  }
  // Unlocked: a visitor may look things up here.
  for (abi::DeviceSer* device : devices) visit(*device);
}

abi::DomainSer* LiveUpdate::domain_of(const abi::DeviceSer& device) {
  sync::MutexLock lock(mutex_);
  for (const auto& incoming : state_->incoming) {
    if (incoming == nullptr) continue;
    if (auto* domain = incoming->at<abi::DomainSer>(device.map.domain_phys)) return domain;
  }
  return nullptr;
}

Result<Domain*> LiveUpdate::restored_domain(Device& device, abi::DeviceSer& ser, DomainType type) {
  sync::MutexLock lock(mutex_);
  State& s = *state_;
  abi::DomainSer* domain_ser = nullptr;
  Carrier carrier = Carrier::kStanding;
  for (size_t i = 0; i < kCarriers && domain_ser == nullptr; ++i) {
    if (s.incoming[i] == nullptr) continue;
    domain_ser = s.incoming[i]->at<abi::DomainSer>(ser.map.domain_phys);
    carrier = static_cast<Carrier>(i);
  }
  if (domain_ser == nullptr) return fail(ENODATA, "the device's domain is not in the handover");

  auto found = s.restored.find(domain_ser);
  if (found == s.restored.end()) {
    std::unique_ptr<Domain> domain;
    auto restore = [&]() CW_NO_THREAD_SAFETY_ANALYSIS -> Result<Domain*> {
      CW_FAIL_POINT("iommu.live_update.alloc_restored");
      domain = CW_TRY(device.driver().alloc_restored(device, ser, *domain_ser, type));
      IoPageTable* table = domain->page_table();
      if (table == nullptr) return fail(EOPNOTSUPP, "the restored domain has no page table");
      CW_FAIL_POINT("iommu.live_update.restore_table");
      CW_TRY(table->restore({.top = PhysAddr(domain_ser->top_table_phys),
                             .level = static_cast<unsigned>(domain_ser->top_level),
                             .vasz_lg2 = domain_ser->vasz,
                             .sign_extend = domain_ser->sign_extend != 0}));
      return domain.get();
    };
    auto outcome = restore();
    if (!outcome.has_value())
      report_locked(fmt::format("the domain of {} is not restored: {}", device.name(), to_string(outcome.error())));
    // A domain that failed is kept as it is: what of its tables was restored the hardware may still be reading.
    found = s.restored.emplace(domain_ser, State::RestoredDomain{carrier, outcome, std::move(domain)}).first;
  }
  const State::RestoredDomain& restored = found->second;
  if (!restored.outcome.has_value()) return fail(restored.outcome.error());
  if (const Driver* owner = restored.domain->owner(); owner != nullptr && owner != &device.driver())
    return fail(EINVAL, "the device's domain is another driver's");
  return restored.domain.get();
}

void LiveUpdate::release(Carrier carrier) {
  std::shared_ptr<PreservedState> arrays;
  std::vector<Domain*> grow;
  {
    sync::MutexLock lock(mutex_);
    State& s = *state_;
    arrays = std::exchange(s.incoming[static_cast<size_t>(carrier)], nullptr);
    for (auto entry = s.restored.begin(); entry != s.restored.end();) {
      State::RestoredDomain& restored = entry->second;
      if (restored.carrier != carrier) {
        ++entry;
        continue;
      }
      if (restored.outcome.has_value()) grow.push_back(restored.domain.get());
      if (restored.domain != nullptr) s.kept.push_back(std::move(restored.domain));
      entry = s.restored.erase(entry);
    }
  }
  if (arrays == nullptr) return;
  // Until the new handover counts, the old one must find its arrays, and the tables as they were. The commit may come when
  // this object has gone; its domains have then gone with it.
  auto action = [arrays, grow = std::move(grow), state = std::weak_ptr<State>(state_)] {
    CW_POINT("iommu.live_update.release");
    if (auto alive = state.lock())
      for (Domain* domain : grow) domain->page_table()->allow_growth();
    arrays->release();
  };
  if (pages_.kho() != nullptr) return pages_.kho()->after_commit(std::move(action));
  action();
}

}  // namespace causeway::iommu
