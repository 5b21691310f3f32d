// A group: the smallest set of devices that the IOMMU can keep apart from all others (struct iommu_group). Whoever uses
// its devices gets all of them, and they are always in one domain.
//
//   CW_TRY(group.use_default_domain());              // a kernel driver is bound
//   ...
//   CW_TRY(group.claim_dma_owner(file));             // or a program takes the group: DMA is blocked
//   CW_TRY(attach_device(domain, device));
//   detach_device(device);
//   group.release_dma_owner();
//
// A switch of domains is contracted to be old or new for every access, never neither in between for good; accesses in
// the middle may be refused. Thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "iommu/device.h"
#include "iommu/domain.h"
#include "iommu/driver.h"
#include "sync/mutex.h"

namespace causeway::iommu {

// What iommufd stores with an attachment (struct iommu_attach_handle).
struct AttachHandle {
  Domain* domain = nullptr;  // set by the core; null: not in use
};

// What the rules for default domains depend on beside the devices (core.h).
struct DefaultDomainRules {
  DomainType type = DomainType::kDmaFq;
  bool strict_untrusted = true;
};

class Group {
 public:
  explicit Group(uint32_t id, const DefaultDomainRules& rules = {}) : id_(id), rules_(rules) {}
  ~Group();

  uint32_t id() const { return id_; }
  std::vector<Device*> devices() const;
  Domain* default_domain() const;  // null until its first device is set up
  Domain* domain() const;          // the current one
  DomainType type() const;         // of the default domain, as sysfs shows it; kBlocked: there is none
  // As written to iommu_groups/N/type: another default domain, and all devices on it; none: the one it would have at
  // boot. EBUSY: somebody uses the group, or hands out addresses of the default domain, or it came from the kernel
  // before; EINVAL: not a type for default domains, or the driver, or an untrusted device, insists on another; errors
  // of the driver: nothing has changed.
  Status change_default_type(std::optional<DomainType> type);
  std::vector<ReservedRegion> reserved_regions() const;  // of all its devices, merged

  // -- Ownership. By kernel drivers (iommu_device_use_default_domain): EBUSY: it has an owner, is not on its default
  // domain, or has PASIDs; EAGAIN: it has no default domain yet; EIO: quarantined.
  Status use_default_domain();
  void unuse_default_domain();
  // By a program (iommu_device_claim_dma_owner); the same owner may claim several times. EINVAL: null; EPERM: another
  // owner; EBUSY: kernel drivers use it, it is not on its default domain, PASIDs are attached, or it is being reset;
  // EINVAL: a device's direct regions forbid to block it; EIO: quarantined. The group is on the blocking domain when it
  // returns.
  Status claim_dma_owner(const void* owner);
  // The last one: PASIDs are detached, and the group goes back to its default domain, whatever the driver says.
  void release_dma_owner();
  bool is_owned() const;  // dma_owner_claimed: owner_cnt != 0; kernel drivers do not count

  // -- What the kernel before left. A restored group was owned there: it stays on its domain, EBUSY for everybody
  // (EPERM for other owners), until the next reboot. A quarantined one could not be restored, its hardware goes on as
  // it was, and everything is EIO. What cannot fail does nothing to either, and says so in the log.
  std::optional<uint64_t> restored_token() const;  // its owner's there
  std::string quarantine() const;                  // why; empty: it is not

  // -- Domains. ENODEV: no device; EINVAL: a domain of another driver, or `handle`, which may be null, is in use;
  // EBUSY: being reset. An error leaves every device on the domain it was on.
  Status attach(Domain& domain, AttachHandle* handle = nullptr);   // EBUSY: not on its default or blocking domain
  Status replace(Domain& domain, AttachHandle* handle = nullptr);  // from whatever it is on; EINVAL: the same handle
  void detach();                                                   // to the default domain, or blocked if owned
  AttachHandle* handle(Pasid pasid) const;  // null: none
  // The default domain of a device whose attach was deferred. Nothing to do: success.
  Status attach_deferred(Device& device);

  // -- PASIDs (iommu_attach_device_pasid). In this order: EOPNOTSUPP: the domain, or the driver's blocked domain, takes
  // none; EINVAL: PASID 0, a domain of another driver, a handle in use, beyond what a device has, or no device has any;
  // EBUSY: occupied, or being reset. Devices without PASIDs are left out. Fault delivery sees a PASID after success
  // alone.
  Status attach_pasid(Domain& domain, Pasid pasid, AttachHandle* handle = nullptr);
  // EINVAL: nothing is attached, no handle, or the same one. The same domain: only the handle changes.
  Status replace_pasid(Domain& domain, Pasid pasid, AttachHandle* handle);
  void detach_pasid(Pasid pasid);
  bool has_pasids() const;

  // A device of the group is being reset: attaches are EBUSY, and nothing is translated, until the matching end. What
  // cannot fail (detach, release) is remembered, and done at the end.
  Status begin_reset();
  void end_reset();

 private:
  friend class Core;
  struct Attachment {
    Domain* domain = nullptr;
    AttachHandle* handle = nullptr;
  };
  enum class Hold : uint8_t { kNone, kRestored, kQuarantined };

  // What the core does while it probes and releases.
  Status add_first_locked(Device& device) CW_REQUIRES(mutex_);
  Status join_locked(Device& device) CW_REQUIRES(mutex_);
  void remove_locked(Device& device) CW_REQUIRES(mutex_);

  Status check_hold_locked() const CW_REQUIRES(mutex_);
  Status check_attachable_locked(const Domain& domain, const AttachHandle* handle) const CW_REQUIRES(mutex_);
  bool in_use_locked() const CW_REQUIRES(mutex_);
  Status set_default_locked(DomainType type) CW_REQUIRES(mutex_);
  Status set_domain_locked(Domain& domain) CW_REQUIRES(mutex_);
  void must_set_domain_locked(Domain& domain) CW_REQUIRES(mutex_);
  Status attach_one_locked(Device& device, Domain& domain, Domain* old) CW_REQUIRES(mutex_);
  void must_attach_one_locked(Device& device, Domain& domain, Domain* old) CW_REQUIRES(mutex_);
  void set_handle_locked(AttachHandle* handle, Domain& domain) CW_REQUIRES(mutex_);
  Domain& blocked_locked() const CW_REQUIRES(mutex_);
  Domain& core_domain_locked() const CW_REQUIRES(mutex_);
  Status set_pasid_locked(Domain& domain, Pasid pasid, Domain* old) CW_REQUIRES(mutex_);
  Status check_pasid_locked(const Domain& domain, Pasid pasid, const AttachHandle* handle) const CW_REQUIRES(mutex_);
  void remove_pasid_locked(Device& device, Pasid pasid, Domain& domain) CW_REQUIRES(mutex_);
  void detach_pasid_locked(Pasid pasid) CW_REQUIRES(mutex_);

  const uint32_t id_;
  const DefaultDomainRules rules_;
  mutable sync::Mutex mutex_{"iommu.group"};
  std::vector<Device*> devices_ CW_GUARDED_BY(mutex_);
  std::unique_ptr<Domain> own_default_ CW_GUARDED_BY(mutex_);  // if default_domain_ is neither static nor restored
  Domain* default_domain_ CW_GUARDED_BY(mutex_) = nullptr;
  bool default_restored_ CW_GUARDED_BY(mutex_) = false;
  Domain* domain_ CW_GUARDED_BY(mutex_) = nullptr;
  std::map<Pasid, Attachment> pasids_ CW_GUARDED_BY(mutex_);
  AttachHandle* handle_ CW_GUARDED_BY(mutex_) = nullptr;
  unsigned users_ CW_GUARDED_BY(mutex_) = 0;  // kernel drivers
  const void* owner_ CW_GUARDED_BY(mutex_) = nullptr;
  unsigned owner_count_ CW_GUARDED_BY(mutex_) = 0;
  unsigned resets_ CW_GUARDED_BY(mutex_) = 0;
  Hold hold_ CW_GUARDED_BY(mutex_) = Hold::kNone;
  uint64_t token_ CW_GUARDED_BY(mutex_) = 0;
  std::string quarantine_ CW_GUARDED_BY(mutex_);
};

// For the common case of a device that is alone in its group; EINVAL if it is not, and nothing is detached
// (iommu_attach_device).
Status attach_device(Domain& domain, Device& device);
void detach_device(Device& device);

}  // namespace causeway::iommu
