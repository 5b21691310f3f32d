// Dirty tracking and forced coherence: switches of entries that are in use.
#include "iommu/vtd/paging_domain.h"

namespace causeway::iommu::vtd {

using sync::MutexLock;

Status PagingDomain::forget_entry(const User& user) {
  return user.device->unit.flush().flush_pasid_cache(user.id, user.pasid);
}

Status PagingDomain::set_dirty_tracking(bool on) {
  if (!format_.dirty_tracking) return fail(EOPNOTSUPP, "the domain was not made for tracking dirty pages");
  {
    MutexLock lock(mutex_);
    if (track_dirty_ == on) return {};
    track_dirty_ = on;
    for (const User& user : users_) {
      user.device->pasids->set_dirty_tracking(user.pasid, on);
      CW_TRY(forget_entry(user));
    }
  }
  // What was cached before it was tracked would be written to without a trace.
  tags_.flush_all();
  return {};
}

Status PagingDomain::read_and_clear_dirty(Iova iova, uint64_t size, DirtyClear clear, DirtyBitmap* bitmap,
                                          Gather& gather) {
  if (!format_.dirty_tracking) return fail(EOPNOTSUPP, "the domain was not made for tracking dirty pages");
  return table_->read_and_clear_dirty(iova, size, clear, bitmap, gather);
}

Status PagingDomain::enforce_cache_coherency() {
  {
    MutexLock lock(mutex_);
    CW_TRY(force_snoop_locked());
  }
  // What was cached before was not forced.
  tags_.flush_all();
  return {};
}

Status PagingDomain::force_snoop_locked() {
  for (const auto& [unit, id] : ids_)
    if (!unit->caps().snoop_control()) return fail(EINVAL, "a unit cannot force coherence");
  if (format_.stage == Stage::kSecond) {
    if (format_.forced_snoop) return {};
    bool empty = true;
    table_->for_each_leaf([&](const IoPageTable::Leaf&) { return empty = false; });
    if (!empty || !ids_.empty()) return fail(EINVAL, "too late: the domain is in use");
    format_.forced_snoop = true;
    return make_table();
  }
  format_.forced_snoop = true;
  force_snoop_ = true;
  for (const User& user : users_) {
    user.device->pasids->set_page_snoop(user.pasid);
    CW_TRY(forget_entry(user));
  }
  return {};
}

}  // namespace causeway::iommu::vtd
