// Invalidation by registers (VT-d 6.5.1), for a unit without a queue: context cache and IOTLB, one at a time.
#pragma once

#include "iommu/vtd/invalidator.h"
#include "sync/spin_lock.h"

namespace causeway::iommu::vtd {

class RegisterInvalidation final : public Invalidator {
 public:
  explicit RegisterInvalidation(UnitRegisters& regs) : regs_(regs) {}
  Status submit(std::span<const QueueDescriptor> descriptors) override;
  Status disable() override { return {}; }
  InvalidatorStats stats() const override;

 private:
  Status context(uint64_t descriptor) CW_REQUIRES(lock_);
  Status iotlb(const QueueDescriptor& descriptor) CW_REQUIRES(lock_);

  UnitRegisters& regs_;
  mutable sync::SpinLock lock_{"iommu.vtd.register_invalidation"};
  InvalidatorStats stats_ CW_GUARDED_BY(lock_);
};

}  // namespace causeway::iommu::vtd
