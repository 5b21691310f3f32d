// Domains of the VT-d driver: what all that translate have in common, which is how they get into a unit's tables.
//
// A device is blocked first, then its new domain is checked, gets its id, and is programmed. Whatever fails leaves the device
// blocked; the core then attaches the old domain again.
#pragma once

#include "iommu/vtd/vtd_device.h"

namespace causeway::iommu::vtd {

class VtdDomain : public Domain {
 public:
  explicit VtdDomain(Driver& driver) : driver_(driver) {}
  const Driver* owner() const override { return &driver_; }
  Status attach(Device& device, Domain* old) final;
  Status attach_pasid(Device& device, Pasid pasid, Domain* old) final;

  // EINVAL: the unit cannot translate by it.
  virtual Status check(VtdUnit& unit) const = 0;
  // The id it has on a unit, for one more user. ENOSPC
  virtual Result<DomainId> hold_id(VtdUnit& unit) = 0;
  virtual void drop_id(VtdUnit& unit) = 0;
  virtual LegacyContext legacy_entry(const VtdUnit& unit, DomainId id, bool ats) const = 0;
  virtual PasidContext pasid_entry(const VtdUnit& unit, DomainId id) const = 0;
  // Pages may be cached by the device itself.
  virtual bool allows_ats(const VtdUnit& unit) const = 0;
  // A device, or one of its address spaces, is about to find the tables, or cannot any more.
  virtual void add_user(VtdDevice& device, Pasid pasid, DomainId id) = 0;
  virtual void remove_user(VtdDevice& device, Pasid pasid, DomainId id) = 0;
  // Its device-TLB holds, or does not hold any more, what the domain translates.
  virtual void add_device_tlb(VtdDevice& device, Pasid pasid, DomainId id) = 0;
  virtual void remove_device_tlb(VtdDevice& device, Pasid pasid, DomainId id) = 0;

 private:
  Driver& driver_;
};

// A domain that nothing is mapped in.
template <typename Base>
class WithoutTable : public Base {
 public:
  using Base::Base;
  uint64_t page_sizes() const override { return ~(kPageSize - 1); }
  Aperture aperture() const override { return {}; }
  Status map(Iova, PhysAddr, uint64_t, uint32_t) override { return fail(EOPNOTSUPP, "nothing is mapped there"); }
  void sync_map(Iova, uint64_t) override {}
  uint64_t unmap(Iova, uint64_t, Gather&) override { return 0; }
  void sync(Gather&) override {}
  void flush_all() override {}
};

// IOMMU_DOMAIN_IDENTITY: addresses are passed through.
class IdentityDomain final : public WithoutTable<VtdDomain> {
 public:
  using WithoutTable::WithoutTable;
  DomainType type() const override { return DomainType::kIdentity; }
  std::optional<PhysAddr> iova_to_phys(Iova iova) const override { return PhysAddr(iova.value()); }

  Status check(VtdUnit& unit) const override;
  Result<DomainId> hold_id(VtdUnit&) override { return kSharedDomainId; }
  void drop_id(VtdUnit&) override {}
  LegacyContext legacy_entry(const VtdUnit& unit, DomainId id, bool ats) const override;
  PasidContext pasid_entry(const VtdUnit& unit, DomainId id) const override;
  bool allows_ats(const VtdUnit& unit) const override { return unit.scalable(); }
  void add_user(VtdDevice&, Pasid, DomainId) override {}
  void remove_user(VtdDevice&, Pasid, DomainId) override {}
  void add_device_tlb(VtdDevice&, Pasid, DomainId) override {}
  void remove_device_tlb(VtdDevice&, Pasid, DomainId) override {}
};

// IOMMU_DOMAIN_BLOCKED: there is no entry.
class BlockedDomain final : public WithoutTable<Domain> {
 public:
  explicit BlockedDomain(Driver& driver) : driver_(driver) {}
  DomainType type() const override { return DomainType::kBlocked; }
  std::optional<PhysAddr> iova_to_phys(Iova) const override { return std::nullopt; }
  const Driver* owner() const override { return &driver_; }
  Status attach(Device& device, Domain* old) override;
  Status attach_pasid(Device& device, Pasid pasid, Domain* old) override;

 private:
  Driver& driver_;
};

}  // namespace causeway::iommu::vtd
