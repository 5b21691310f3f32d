// Which domain the devices of a group are on. The set of devices changes as one: whoever looks between two calls of the
// driver may see some of them on the old domain, or blocked; after a call that returns, all are on the same.
#include <algorithm>

#include "base/log.h"
#include "iommu/group.h"

namespace causeway::iommu {

using sync::MutexLock;

Domain& Group::blocked_locked() const { return devices_.front()->driver().blocked_domain(); }

Domain& Group::core_domain_locked() const { return owner_count_ != 0 ? blocked_locked() : *default_domain_; }

Status Group::check_attachable_locked(const Domain& domain, const AttachHandle* handle) const {
  if (devices_.empty() && hold_ == Hold::kNone) return fail(ENODEV, "the group has no device");
  for (const Device* device : devices_)
    if (domain.owner() != &device->driver()) return fail(EINVAL, "the domain belongs to another driver");
  if (handle != nullptr && handle->domain != nullptr) return fail(EINVAL, "the attach handle is in use");
  CW_TRY(check_hold_locked());
  if (resets_ != 0) return fail(EBUSY, "the group is being reset");
  return {};
}

// A device that waits for its default domain is attached to it later, and to any other now.
Status Group::attach_one_locked(Device& device, Domain& domain, Domain* old) {
  if (device.attach_deferred()) {
    if (&domain == default_domain_) return {};
    device.attach_deferred_.store(false, std::memory_order_release);
  }
  return domain.attach(device, old);
}

// Where there is no way back: better blocked than on a domain that its owner is about to free.
void Group::must_attach_one_locked(Device& device, Domain& domain, Domain* old) {
  Status done = attach_one_locked(device, domain, old);
  if (done) return;
  log::error("iommu", "{}: cannot be attached to its {} domain: {}", device.name(), name_of(domain.type()),
             to_string(done.error()));
  Domain& blocked = device.driver().blocked_domain();
  if (&domain == &blocked) return;
  if (Status last = blocked.attach(device, old); !last)
    log::error("iommu", "{}: cannot be blocked either: {}", device.name(), to_string(last.error()));
}

Status Group::set_domain_locked(Domain& domain) {
  if (&domain == domain_) return {};
  if (domain.type() == DomainType::kBlocked)
    for (const Device* device : devices_)
      if (device->needs_direct_) return fail(EINVAL, "a device of the group has direct regions and cannot be blocked");
  for (size_t i = 0; i < devices_.size(); ++i) {
    Status done = attach_one_locked(*devices_[i], domain, domain_);
    if (done) continue;
    // The one that failed is blocked, or still where it was; those before it are on the new domain.
    if (domain_ != nullptr) {
      for (size_t back = 0; back <= i; ++back) {
        Domain* now = back == i ? &devices_[back]->driver().blocked_domain() : &domain;
        must_attach_one_locked(*devices_[back], *domain_, now);
      }
    }
    return done;
  }
  domain_ = &domain;
  return {};
}

void Group::must_set_domain_locked(Domain& domain) {
  if (&domain == domain_) return;
  // During a reset every device is blocked, and the end of the reset attaches them.
  if (resets_ == 0)
    for (Device* device : devices_) must_attach_one_locked(*device, domain, domain_);
  domain_ = &domain;
}

void Group::set_handle_locked(AttachHandle* handle, Domain& domain) {
  if (handle_ != nullptr) handle_->domain = nullptr;
  handle_ = handle;
  if (handle_ != nullptr) handle_->domain = &domain;
}

Status Group::attach(Domain& domain, AttachHandle* handle) {
  MutexLock lock(mutex_);
  CW_TRY(check_attachable_locked(domain, handle));
  if (domain_ != default_domain_ && domain_ != &blocked_locked())
    return fail(EBUSY, "the group is on a domain already");
  CW_TRY(set_domain_locked(domain));
  set_handle_locked(handle, domain);
  return {};
}

Status Group::replace(Domain& domain, AttachHandle* handle) {
  MutexLock lock(mutex_);
  CW_TRY(check_attachable_locked(domain, handle));
  CW_TRY(set_domain_locked(domain));
  set_handle_locked(handle, domain);
  return {};
}

void Group::detach() {
  MutexLock lock(mutex_);
  if (hold_ != Hold::kNone) {
    log::error("iommu", "group {}: is held, and stays on its domain", id_);
    return;
  }
  if (devices_.empty()) return;
  Domain& next = core_domain_locked();
  set_handle_locked(nullptr, next);
  must_set_domain_locked(next);
}

AttachHandle* Group::handle(Pasid pasid) const {
  MutexLock lock(mutex_);
  if (pasid == kNoPasid) return handle_;
  auto at = pasids_.find(pasid);
  return at == pasids_.end() ? nullptr : at->second.handle;
}

Status Group::attach_deferred(Device& device) {
  MutexLock lock(mutex_);
  if (!device.attach_deferred()) return {};
  CW_TRY(check_hold_locked());
  if (resets_ != 0) return fail(EBUSY, "the group is being reset");
  device.attach_deferred_.store(false, std::memory_order_release);
  Status done = domain_->attach(device, nullptr);
  if (!done) device.attach_deferred_.store(true, std::memory_order_release);
  return done;
}

Status Group::begin_reset() {
  MutexLock lock(mutex_);
  if (devices_.empty() && hold_ == Hold::kNone) return fail(ENODEV, "the group has no device");
  CW_TRY(check_hold_locked());
  if (resets_ != 0) {
    ++resets_;
    return {};
  }
  // Blocked for the moment, whatever its direct regions: a device that is being reset reaches nothing.
  for (size_t i = 0; i < devices_.size(); ++i) {
    Device& device = *devices_[i];
    if (device.attach_deferred() || domain_ == &blocked_locked()) continue;
    Status done = blocked_locked().attach(device, domain_);
    if (done) continue;
    for (size_t back = 0; back <= i; ++back)
      if (!devices_[back]->attach_deferred()) must_attach_one_locked(*devices_[back], *domain_, &blocked_locked());
    return done;
  }
  for (auto& [pasid, attachment] : pasids_)
    for (Device* device : devices_)
      if (device->max_pasids() != 0) remove_pasid_locked(*device, pasid, *attachment.domain);
  resets_ = 1;
  return {};
}

void Group::end_reset() {
  MutexLock lock(mutex_);
  if (resets_ == 0) {
    log::error("iommu", "group {}: the end of a reset that did not begin", id_);
    return;
  }
  if (--resets_ != 0) return;
  for (Device* device : devices_) {
    if (!device->attach_deferred() && domain_ != &blocked_locked())
      must_attach_one_locked(*device, *domain_, &blocked_locked());
    if (device->max_pasids() == 0) continue;
    for (auto& [pasid, attachment] : pasids_)
      if (Status done = attachment.domain->attach_pasid(*device, pasid, nullptr); !done)
        log::error("iommu", "{}: PASID {} does not come back after a reset: {}", device->name(), pasid,
                   to_string(done.error()));
  }
}

namespace {

bool is_alone(const Device& device) { return device.group().devices().size() == 1; }

}  // namespace

Status attach_device(Domain& domain, Device& device) {
  if (!is_alone(device)) return fail(EINVAL, "the device shares its group");
  return device.group().attach(domain);
}

void detach_device(Device& device) {
  if (!is_alone(device)) {
    log::error("iommu", "{}: shares its group, and stays on its domain", device.name());
    return;
  }
  device.group().detach();
}

}  // namespace causeway::iommu
