// Membership, default domain and ownership. Switching domains is in group_domain.cc, PASIDs in group_pasid.cc.
#include "iommu/group.h"

#include <algorithm>

#include "base/log.h"
#include "iommu/default_domain.h"

namespace causeway::iommu {

using sync::MutexLock;

Group::~Group() = default;

std::vector<Device*> Group::devices() const {
  MutexLock lock(mutex_);
  return devices_;
}

Domain* Group::default_domain() const {
  MutexLock lock(mutex_);
  return default_domain_;
}

Domain* Group::domain() const {
  MutexLock lock(mutex_);
  return domain_;
}

DomainType Group::type() const {
  MutexLock lock(mutex_);
  return default_domain_ == nullptr ? DomainType::kBlocked : default_domain_->type();
}

std::vector<ReservedRegion> Group::reserved_regions() const {
  MutexLock lock(mutex_);
  std::vector<ReservedRegion> all;
  for (Device* device : devices_)
    for (const ReservedRegion& region : device->driver().reserved_regions(*device)) all.push_back(region);
  return merge_regions(std::move(all));
}

std::optional<uint64_t> Group::restored_token() const {
  MutexLock lock(mutex_);
  if (hold_ != Hold::kRestored) return std::nullopt;
  return token_;
}

std::string Group::quarantine() const {
  MutexLock lock(mutex_);
  return quarantine_;
}

Status Group::check_hold_locked() const {
  switch (hold_) {
    case Hold::kNone: return {};
    case Hold::kRestored: return fail(EBUSY, "the group is held for its owner in the kernel before");
    case Hold::kQuarantined: break;
  }
  return fail(EIO, "a device of the group could not be taken over");
}

bool Group::in_use_locked() const {
  return users_ != 0 || owner_count_ != 0 || resets_ != 0 || domain_ != default_domain_ || !pasids_.empty();
}

// The only device. Nothing of the group has changed if it fails.
Status Group::add_first_locked(Device& device) {
  devices_.push_back(&device);
  Status done = [&]() CW_REQUIRES(mutex_) -> Status {
    DomainType type = CW_TRY(choose_default_type(devices_, rules_, std::nullopt));
    return set_default_locked(type);
  }();
  if (!done) devices_.clear();
  return done;
}

// Domains are shared by all devices of the group, so the new one gets what the others have; but what the default domain
// must be may change with it.
Status Group::join_locked(Device& device) {
  CW_TRY(check_hold_locked());
  if (&device.driver() != &devices_.front()->driver())
    return fail(EINVAL, "the devices of a group are behind IOMMUs of different drivers");
  if (!pasids_.empty()) return fail(EBUSY, "the group the device belongs to has PASIDs attached");
  if (device.needs_direct_ && domain_ != default_domain_)
    return fail(EBUSY, "the device has direct regions, and its group is not on its default domain");

  std::vector<Device*> all = devices_;
  all.push_back(&device);
  DomainType type = CW_TRY(choose_default_type(all, rules_, std::nullopt));
  // Somebody may have chosen another type at run time; only what somebody insists on matters.
  if (type != default_domain_->type() && !choose_default_type(all, rules_, default_domain_->type())) {
    if (in_use_locked() || default_restored_)
      return fail(EBUSY, "the group is in use, and the device needs another default domain");
    CW_TRY(set_default_locked(type));
  }
  CW_TRY(map_direct_regions(*default_domain_, device));
  // Not on a failure: the driver forgets the device next.
  CW_TRY(attach_one_locked(device, resets_ != 0 ? blocked_locked() : *domain_, nullptr));
  devices_.push_back(&device);
  return {};
}

void Group::remove_locked(Device& device) {
  for (auto& [pasid, attachment] : pasids_)
    if (device.max_pasids() != 0 && resets_ == 0) remove_pasid_locked(device, pasid, *attachment.domain);
  if (domain_ != nullptr && !device.attach_deferred()) {
    Driver& driver = device.driver();
    must_attach_one_locked(device, device.needs_direct_ ? driver.identity_domain() : driver.blocked_domain(),
                           resets_ != 0 ? &driver.blocked_domain() : domain_);
  }
  std::erase(devices_, &device);
  if (!devices_.empty()) return;
  if (owner_count_ != 0 || users_ != 0) log::warn("iommu", "the last device of group {} went while it was used", id_);
  for (auto& [pasid, attachment] : pasids_)
    if (attachment.handle != nullptr) attachment.handle->domain = nullptr;
  pasids_.clear();
  if (handle_ != nullptr) handle_->domain = nullptr;
  handle_ = nullptr;
  domain_ = default_domain_ = nullptr;
  own_default_.reset();
}

// A new default domain with everybody on it; the old one is freed. On failure everybody is back on the old one.
Status Group::set_default_locked(DomainType type) {
  DefaultDomain made = CW_TRY(make_default_domain(*devices_.front(), type));
  for (Device* device : devices_) CW_TRY(map_direct_regions(*made.domain, *device));
  Domain* old = default_domain_;
  default_domain_ = made.domain;  // what deferred devices wait for
  if (Status done = set_domain_locked(*made.domain); !done) {
    default_domain_ = old;
    return done;
  }
  own_default_ = std::move(made.own);
  return {};
}

Status Group::change_default_type(std::optional<DomainType> wanted) {
  MutexLock lock(mutex_);
  if (devices_.empty() && hold_ == Hold::kNone) return fail(ENODEV, "the group has no device");
  CW_TRY(check_hold_locked());
  if (wanted && *wanted != DomainType::kIdentity && *wanted != DomainType::kDma && *wanted != DomainType::kDmaFq)
    return fail(EINVAL, "not a type of default domains");
  if (wanted == default_domain_->type()) return {};
  if (in_use_locked()) return fail(EBUSY, "the group is in use");
  if (default_restored_) return fail(EBUSY, "the default domain came from the kernel before");
  DomainType type = CW_TRY(choose_default_type(devices_, rules_, wanted));
  if (type == default_domain_->type()) return {};
  Domain* allocated = own_default_ ? default_domain_ : nullptr;
  if (allocated != nullptr && !allocated->claim())
    return fail(EBUSY, "addresses of the default domain are handed out");
  Status done = set_default_locked(type);
  if (!done && allocated != nullptr) allocated->unclaim();
  return done;
}

Status Group::use_default_domain() {
  MutexLock lock(mutex_);
  if (hold_ == Hold::kQuarantined) return check_hold_locked();
  if (owner_count_ != 0) return fail(EBUSY, "the group has an owner");
  if (default_domain_ == nullptr) return fail(EAGAIN, "the group has no default domain yet");
  if (domain_ != default_domain_) return fail(EBUSY, "the group is not on its default domain");
  if (!pasids_.empty()) return fail(EBUSY, "PASIDs are attached");
  ++users_;
  return {};
}

void Group::unuse_default_domain() {
  MutexLock lock(mutex_);
  if (users_ == 0) {
    log::error("iommu", "group {}: nobody uses the default domain that is given back", id_);
    return;
  }
  --users_;
}

Status Group::claim_dma_owner(const void* owner) {
  MutexLock lock(mutex_);
  if (owner == nullptr) return fail(EINVAL, "no owner");
  if (hold_ == Hold::kRestored) return fail(EPERM, "the group is held for its owner in the kernel before");
  CW_TRY(check_hold_locked());
  if (owner_count_ != 0) {
    if (owner_ != owner) return fail(EPERM, "the group has another owner");
    ++owner_count_;
    return {};
  }
  if (devices_.empty()) return fail(ENODEV, "the group has no device");
  if (users_ != 0) return fail(EBUSY, "kernel drivers use the group");
  if (domain_ != default_domain_) return fail(EBUSY, "the group is not on its default domain");
  if (!pasids_.empty()) return fail(EBUSY, "PASIDs are attached");
  if (resets_ != 0) return fail(EBUSY, "the group is being reset");
  CW_TRY(set_domain_locked(blocked_locked()));
  owner_ = owner;
  owner_count_ = 1;
  return {};
}

void Group::release_dma_owner() {
  MutexLock lock(mutex_);
  if (hold_ != Hold::kNone || owner_count_ == 0) {
    log::error("iommu", "group {}: an owner that it does not have is released", id_);
    return;
  }
  if (--owner_count_ != 0) return;
  owner_ = nullptr;
  if (!pasids_.empty()) log::error("iommu", "group {}: its owner leaves PASIDs behind", id_);
  while (!pasids_.empty()) detach_pasid_locked(pasids_.begin()->first);
  if (devices_.empty()) return;
  set_handle_locked(nullptr, *default_domain_);
  must_set_domain_locked(*default_domain_);
}

bool Group::is_owned() const {
  MutexLock lock(mutex_);
  return owner_count_ != 0;
}

}  // namespace causeway::iommu
