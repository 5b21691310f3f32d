// A domain with a page table, of either stage.
//
//   auto domain = CW_TRY(PagingDomain::create(driver, environment, DomainType::kDma, format));
//
// It has one id on each unit that it is attached through, whatever the number of devices there. A domain that goes while devices
// are on it leaves its tables where they are: the hardware may be walking them, and this kernel may be at its end.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <vector>

#include "iommu/vtd/cache_tags.h"
#include "iommu/vtd/stage.h"
#include "iommu/vtd/vtd_domain.h"
#include "sync/mutex.h"

namespace causeway::iommu::vtd {

class PagingDomain final : public VtdDomain {
 public:
  static Result<std::unique_ptr<PagingDomain>> create(Driver& driver, Environment& environment, DomainType type,
                                                      const Format& format);
  ~PagingDomain() override;
  const Format& format() const { return format_; }

  DomainType type() const override { return type_; }
  uint64_t page_sizes() const override { return info_.page_sizes; }
  Aperture aperture() const override { return info_.aperture; }
  Status map(Iova iova, PhysAddr phys, uint64_t size, uint32_t prot) override;
  void sync_map(Iova iova, uint64_t size) override;
  uint64_t unmap(Iova iova, uint64_t size, Gather& gather) override;
  void sync(Gather& gather) override;
  void flush_all() override;
  void free_tables(FreeList& freed) override;
  std::optional<PhysAddr> iova_to_phys(Iova iova) const override { return table_->iova_to_phys(iova); }

  Status set_dirty_tracking(bool on) override;
  Status read_and_clear_dirty(Iova iova, uint64_t size, DirtyClear clear, DirtyBitmap* bitmap, Gather& gather) override;
  // First stage: at once. Second stage: of what is mapped afterwards, so only before anything is mapped or attached; EINVAL.
  Status enforce_cache_coherency() override;
  IoPageTable* page_table() override { return table_.get(); }

  Status check(VtdUnit& unit) const override;
  Result<DomainId> hold_id(VtdUnit& unit) override;
  void drop_id(VtdUnit& unit) override;
  // Of the old kernel. It stays taken when the last device goes: until the next reboot its caches are not trusted to anybody
  // else. EINVAL: the unit has not reserved it, or the domain has another one there.
  Status adopt_id(VtdUnit& unit, DomainId id);
  LegacyContext legacy_entry(const VtdUnit& unit, DomainId id, bool ats) const override;
  PasidContext pasid_entry(const VtdUnit& unit, DomainId id) const override;
  bool allows_ats(const VtdUnit&) const override { return true; }
  void add_user(VtdDevice& device, Pasid pasid, DomainId id) override;
  void remove_user(VtdDevice& device, Pasid pasid, DomainId id) override;
  void add_device_tlb(VtdDevice& device, Pasid pasid, DomainId id) override;
  void remove_device_tlb(VtdDevice& device, Pasid pasid, DomainId id) override;

 private:
  struct Id {
    DomainId id{0};
    unsigned users = 0;
    bool adopted = false;
  };
  struct User {
    VtdDevice* device;
    Pasid pasid;
    DomainId id;
  };
  PagingDomain(Driver& driver, Environment& environment, DomainType type, const Format& format);
  Status make_table();
  Status force_snoop_locked() CW_REQUIRES(mutex_);
  // Of a live entry: says so to the hardware that has it cached.
  Status forget_entry(const User& user) CW_REQUIRES(mutex_);

  Environment& environment_;
  const DomainType type_;
  Format format_;
  std::unique_ptr<IoPageTable> table_;
  IoPageTable::Info info_;
  CacheTags tags_;
  mutable sync::Mutex mutex_{"iommu.vtd.domain"};
  std::map<VtdUnit*, Id> ids_ CW_GUARDED_BY(mutex_);
  std::vector<User> users_ CW_GUARDED_BY(mutex_);
  bool track_dirty_ CW_GUARDED_BY(mutex_) = false;
  bool force_snoop_ CW_GUARDED_BY(mutex_) = false;  // first stage
};

}  // namespace causeway::iommu::vtd
