// IOMMU state across a live update: which domains and devices are preserved, and what the old kernel left
// (drivers/iommu/liveupdate.c of the posted series).
//
//   // old kernel: an owner's file is preserved (iommufd), or a driver hands its device over
//   CW_TRY(live_update.preserve_domain(Carrier::kSession, domain));
//   CW_TRY(live_update.preserve_device(Carrier::kSession, domain, device, token));
//
//   // new kernel
//   CW_TRY(live_update.retrieve(Carrier::kStanding, phys));     // before the units are initialised
//   const abi::IommuHwSer* unit = live_update.find_unit(register_base, abi::UnitType::kIntel);
//   abi::DeviceSer* device = live_update.find_device(segment, bdf);
//
// Two carriers, each with arrays of its own. kSession is the LUO FLB: its state lives while a session has files that
// need it, and is handed over by an orderly live update alone. kStanding is a KHO subtree: what kernel drivers hand over,
// valid from the first commit on, whenever the kernel dies. A unit is preserved once for both.
//
// A kernel may die at any instruction, and what the standing carrier says then is what the next one finds: a record counts
// once everything it names is preserved, and ends to count before anything of it is given up. So a device goes before its
// domain does, and a domain is given up only when nothing is attached to it that the next kernel would take over.
//
// Failure is never papered over: what cannot be read or restored is refused with its reason (`damage()`), its hardware
// goes on translating by the old tables, and nobody gets the device.
//
// Thread-safe. One mutex, taken after a group's.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "iommu/core.h"
#include "iommu/liveupdate/preserved_state.h"
#include "iommu/pt/io_page_table.h"
#include "sync/mutex.h"

namespace causeway::iommu {

enum class Carrier : uint8_t { kStanding, kSession };
inline constexpr unsigned kCarriers = 2;

class LiveUpdate {
 public:
  explicit LiveUpdate(IommuPages& pages);
  ~LiveUpdate();

  // -- Old kernel. The arrays are made before the first preserve and given up after the last unpreserve, by whoever is the
  // carrier (FLB preserve and unpreserve; the kernel for kStanding). EBUSY: they are there.
  Result<PhysAddr> create(Carrier carrier);
  void destroy(Carrier carrier);

  // In this order: EOPNOTSUPP no page table; ENODATA no arrays; EBUSY preserved already (by either carrier); ENOMEM;
  // those of the page table. One that was restored is preserved like any other: a new kernel does so before its commit.
  Status preserve_domain(Carrier carrier, Domain& domain);
  void unpreserve_domain(Domain& domain);  // nothing if it is not preserved; devices are not looked at
  // In this order: EOPNOTSUPP not PCI; EINVAL kSession, and the group's DMA owner is not claimed; EOPNOTSUPP the driver
  // cannot; ENODATA; EINVAL the domain is not preserved by this carrier; EBUSY; ENOMEM; those of the unit and the driver;
  // EOPNOTSUPP the group has other devices. Nothing is left of a failure. The caller sees to it that the group keeps its
  // owner and its devices meanwhile; not under the group's lock.
  Status preserve_device(Carrier carrier, Domain& domain, Device& device, uint64_t owner_token);
  void unpreserve_device(Device& device);
  bool is_preserved(const Device& device) const;
  bool is_preserved(const Domain& domain) const;
  // Any device of the unit is, for the scrub at shutdown.
  bool is_preserved(const Unit& unit) const;

  // -- New kernel. ENOENT and so on: PreservedState::retrieve(); EBADMSG too, if it contradicts the other carrier: a device or
  // a table in both, two roots of one unit; EBUSY: retrieved already. The reason is in damage() too. May be called for
  // kSession later than for kStanding, but before any device is probed.
  Status retrieve(Carrier carrier, PhysAddr where);
  // Records are the reader's until release(); null: none. A unit in both carriers has one record here, the standing one.
  abi::IommuHwSer* find_unit(uint64_t token, abi::UnitType type);
  abi::DeviceSer* find_device(uint16_t segment, Bdf bdf);
  void for_each_device_of(uint64_t unit_token, const std::function<void(abi::DeviceSer&)>& visit);
  abi::DomainSer* domain_of(const abi::DeviceSer& device);
  // The domain a preserved device is on: made by its driver and restored at the first call, shared by all devices that
  // name it afterwards. Lives as long as this object. ENODATA: `ser` names no domain; EINVAL: another driver's domain; errors
  // of the driver and of IoPageTable::restore(), which every later call for the domain gets too.
  Result<Domain*> restored_domain(Device& device, abi::DeviceSer& ser, DomainType type);
  // What could not be taken over, in words; empty: nothing.
  std::vector<std::string> damage() const;
  void report_damage(std::string text);
  // The old kernel's arrays are not needed any more: at commit, or now if that has been, they are freed, and restored domains
  // may grow. Their records are gone at once. kSession: at the FLB's finish.
  void release(Carrier carrier);

 private:
  struct State;
  void unpreserve_domain_locked(Domain& domain) CW_REQUIRES(mutex_);
  void unpreserve_device_locked(Device& device) CW_REQUIRES(mutex_);
  Result<abi::IommuHwSer*> hold_unit(Carrier carrier, Unit& unit) CW_REQUIRES(mutex_);
  void drop_unit(Carrier carrier, Unit& unit) CW_REQUIRES(mutex_);
  void report_locked(std::string text) CW_REQUIRES(mutex_);

  IommuPages& pages_;
  mutable sync::Mutex mutex_{"iommu.live_update"};
  std::shared_ptr<State> state_;  // also of what release() leaves for the commit
};

const char* name_of(Carrier carrier);  // "standing", "session"

}  // namespace causeway::iommu
