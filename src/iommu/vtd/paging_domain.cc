#include "iommu/vtd/paging_domain.h"

#include <algorithm>

#include "base/log.h"

namespace causeway::iommu::vtd {

using sync::MutexLock;

namespace {

// Page tables of domains that went while the hardware was walking them.
struct Graveyard {
  std::vector<std::unique_ptr<IoPageTable>> tables;
};
sync::Guarded<Graveyard>& graveyard() {
  static auto& dead = *new sync::Guarded<Graveyard>(sync::LockName{"iommu.vtd.graveyard"});
  return dead;
}

}  // namespace

PagingDomain::PagingDomain(Driver& driver, Environment& environment, DomainType type, const Format& format)
    : VtdDomain(driver), environment_(environment), type_(type), format_(format), tags_(format.stage),
      force_snoop_(format.forced_snoop && format.stage == Stage::kFirst) {}

Result<std::unique_ptr<PagingDomain>> PagingDomain::create(Driver& driver, Environment& environment, DomainType type,
                                                           const Format& format) {
  std::unique_ptr<PagingDomain> domain(new PagingDomain(driver, environment, type, format));
  CW_TRY(domain->make_table());
  return domain;
}

Status PagingDomain::make_table() {
  IoPageTable::Hooks hooks;
  if (!format_.coherent)
    hooks.flush_cache = [this](const void* from, uint64_t bytes) {
      if (environment_.options.flush_cache) environment_.options.flush_cache(from, bytes);
    };
  hooks.sync = [this](Gather& gather) { sync(gather); };
  table_ = CW_TRY(vtd::make_table(format_, environment_.pages, std::move(hooks)));
  info_ = table_->info();
  return {};
}

PagingDomain::~PagingDomain() {
  MutexLock lock(mutex_);
  if (users_.empty()) return;
  graveyard().with([&](Graveyard& dead) { dead.tables.push_back(std::move(table_)); });
}

Status PagingDomain::map(Iova iova, PhysAddr phys, uint64_t size, uint32_t prot) {
  if (((iova.value() | phys.value() | size) & (granule() - 1)) != 0 || size == 0)
    return fail(EINVAL, "not whole pages of the domain");
  uint64_t mapped = 0;
  Status done = table_->map(iova, phys, size, prot, &mapped);
  if (!done && mapped != 0) {
    Gather undone;
    table_->unmap(iova, mapped, undone);
    sync(undone);
  }
  return done;
}

void PagingDomain::sync_map(Iova iova, uint64_t size) { tags_.flush_not_present(iova, size); }

uint64_t PagingDomain::unmap(Iova iova, uint64_t size, Gather& gather) { return table_->unmap(iova, size, gather); }

void PagingDomain::sync(Gather& gather) {
  if (!gather.empty())
    tags_.flush_pages(gather.start, gather.end - gather.start + 1,
                      gather.freed.empty() ? Hint::kLeafOnly : Hint::kTablesToo);
  environment_.pages.free(gather.freed);
  gather = Gather{.queued = gather.queued};
}

void PagingDomain::flush_all() { tags_.flush_all(); }
void PagingDomain::free_tables(FreeList& freed) { environment_.pages.free(freed); }

Status PagingDomain::check(VtdUnit& unit) const { return check_compatible(format_, unit.caps(), unit.scalable()); }

Result<DomainId> PagingDomain::hold_id(VtdUnit& unit) {
  MutexLock lock(mutex_);
  auto found = ids_.find(&unit);
  if (found == ids_.end()) found = ids_.emplace(&unit, Id{.id = CW_TRY(unit.ids().allocate())}).first;
  found->second.users += 1;
  return found->second.id;
}

void PagingDomain::drop_id(VtdUnit& unit) {
  MutexLock lock(mutex_);
  auto found = ids_.find(&unit);
  if (found == ids_.end() || --found->second.users > 0 || found->second.adopted) return;
  unit.ids().free(found->second.id);
  ids_.erase(found);
}

Status PagingDomain::adopt_id(VtdUnit& unit, DomainId id) {
  MutexLock lock(mutex_);
  const bool reserved = unit.ids().is_taken(id) || environment_.faults.forget_domain_ids;
  if (id == kSharedDomainId || !reserved) return fail(EINVAL, "the domain's id is not reserved");
  auto [found, first] = ids_.try_emplace(&unit, Id{.id = id, .adopted = true});
  if (found->second.id != id) return fail(EINVAL, "the domain has another id on the unit");
  found->second.users += 1;
  return {};
}

LegacyContext PagingDomain::legacy_entry(const VtdUnit&, DomainId id, bool ats) const {
  const IoPageTable::Root root = table_->root();
  return {.type = ats ? hw::vtd::kTranslateDeviceTlb : hw::vtd::kTranslateUntranslated,
          .width = root.level - 1,
          .top = root.top,
          .domain = id};
}

PasidContext PagingDomain::pasid_entry(const VtdUnit& unit, DomainId id) const {
  MutexLock lock(mutex_);
  const IoPageTable::Root root = table_->root();
  if (format_.stage == Stage::kFirst) {
    PasidContext entry = first_stage_entry(id, root.top, root.level == 4, unit.caps());
    entry.page_snoop = entry.page_snoop || force_snoop_;
    return entry;
  }
  PasidContext entry = second_stage_entry(id, root.top, root.level - 1, unit.caps());
  entry.dirty_tracking = track_dirty_;
  return entry;
}

void PagingDomain::add_user(VtdDevice& device, Pasid pasid, DomainId id) {
  {
    MutexLock lock(mutex_);
    users_.push_back({&device, pasid, id});
  }
  tags_.add({.unit = &device.unit, .domain = id, .pasid = pasid});
}

void PagingDomain::remove_user(VtdDevice& device, Pasid pasid, DomainId id) {
  tags_.remove({.unit = &device.unit, .domain = id, .pasid = pasid});
  MutexLock lock(mutex_);
  std::erase_if(users_, [&](const User& user) { return user.device == &device && user.pasid == pasid; });
}

void PagingDomain::add_device_tlb(VtdDevice& device, Pasid pasid, DomainId id) {
  tags_.add({.unit = &device.unit,
             .kind = CacheTag::Kind::kDeviceTlb,
             .domain = id,
             .pasid = pasid,
             .source = device.device.bdf(),
             .queue_depth = device.device.info().ats_queue_depth});
}

void PagingDomain::remove_device_tlb(VtdDevice& device, Pasid pasid, DomainId id) {
  tags_.remove({.unit = &device.unit,
                .kind = CacheTag::Kind::kDeviceTlb,
                .domain = id,
                .pasid = pasid,
                .source = device.device.bdf()});
}

}  // namespace causeway::iommu::vtd
