// The address spaces of a group beside the one of requests without a PASID.
#include "base/log.h"
#include "iommu/group.h"

namespace causeway::iommu {

using sync::MutexLock;

Status Group::check_pasid_locked(const Domain& domain, Pasid pasid, const AttachHandle* handle) const {
  if (devices_.empty() && hold_ == Hold::kNone) return fail(ENODEV, "the group has no device");
  if (!domain.takes_pasids() || (!devices_.empty() && !blocked_locked().takes_pasids()))
    return fail(EOPNOTSUPP, "the domain takes no PASIDs");
  if (pasid == kNoPasid || pasid == kInvalidPasid) return fail(EINVAL, "not a PASID");
  CW_TRY(check_attachable_locked(domain, handle));
  bool any = false;
  for (const Device* device : devices_) {
    if (device->max_pasids() == 0) continue;
    any = true;
    if (pasid >= device->max_pasids()) return fail(EINVAL, "the PASID is beyond what a device has");
  }
  if (!any) return fail(EINVAL, "no device of the group has PASIDs");
  return {};
}

void Group::remove_pasid_locked(Device& device, Pasid pasid, Domain& domain) {
  if (Status done = blocked_locked().attach_pasid(device, pasid, &domain); !done)
    log::error("iommu", "{}: PASID {} cannot be detached: {}", device.name(), pasid, to_string(done.error()));
}

// From `old`, null for none, on every device that has PASIDs, or on none.
Status Group::set_pasid_locked(Domain& domain, Pasid pasid, Domain* old) {
  for (size_t i = 0; i < devices_.size(); ++i) {
    if (devices_[i]->max_pasids() == 0) continue;
    Status done = domain.attach_pasid(*devices_[i], pasid, old);
    if (done) continue;
    for (size_t back = 0; back <= i; ++back) {
      Device& device = *devices_[back];
      if (device.max_pasids() == 0) continue;
      if (old == nullptr) {
        if (back != i) remove_pasid_locked(device, pasid, domain);
        continue;
      }
      Status again = old->attach_pasid(device, pasid, back == i ? nullptr : &domain);
      if (again) continue;
      log::error("iommu", "{}: PASID {} cannot go back to its domain: {}", device.name(), pasid,
                 to_string(again.error()));
      // What nobody keeps a record of must not stay.
      if (back != i) remove_pasid_locked(device, pasid, domain);
    }
    return done;
  }
  return {};
}

Status Group::attach_pasid(Domain& domain, Pasid pasid, AttachHandle* handle) {
  MutexLock lock(mutex_);
  CW_TRY(check_pasid_locked(domain, pasid, handle));
  if (pasids_.count(pasid) != 0) return fail(EBUSY, "the PASID is attached already");
  CW_TRY(set_pasid_locked(domain, pasid, nullptr));
  pasids_[pasid] = {&domain, handle};
  if (handle != nullptr) handle->domain = &domain;
  return {};
}

Status Group::replace_pasid(Domain& domain, Pasid pasid, AttachHandle* handle) {
  MutexLock lock(mutex_);
  CW_TRY(check_pasid_locked(domain, pasid, handle));
  if (handle == nullptr) return fail(EINVAL, "a replacement needs an attach handle");
  auto at = pasids_.find(pasid);
  if (at == pasids_.end()) return fail(EINVAL, "nothing is attached to the PASID");
  if (at->second.domain != &domain) CW_TRY(set_pasid_locked(domain, pasid, at->second.domain));
  if (at->second.handle != nullptr) at->second.handle->domain = nullptr;
  at->second = {&domain, handle};
  handle->domain = &domain;
  return {};
}

void Group::detach_pasid_locked(Pasid pasid) {
  auto at = pasids_.find(pasid);
  if (at == pasids_.end()) return;
  Attachment gone = at->second;
  // Out of sight first: a fault that comes in between is nobody's.
  pasids_.erase(at);
  if (gone.handle != nullptr) gone.handle->domain = nullptr;
  if (resets_ != 0) return;  // it is blocked already
  for (Device* device : devices_)
    if (device->max_pasids() != 0) remove_pasid_locked(*device, pasid, *gone.domain);
}

void Group::detach_pasid(Pasid pasid) {
  MutexLock lock(mutex_);
  if (pasids_.count(pasid) == 0) log::error("iommu", "group {}: PASID {} is not attached", id_, pasid);
  detach_pasid_locked(pasid);
}

bool Group::has_pasids() const {
  MutexLock lock(mutex_);
  return !pasids_.empty();
}

}  // namespace causeway::iommu
