// How a unit is told to forget what it has cached: by descriptors, whatever carries them to the hardware.
//
//   auto invalidator = CW_TRY(Invalidator::create(regs, pages, {.wide = true, .is_present = ...}));
//   CW_TRY(invalidator->submit({{flush_iotlb_domain(did), flush_device_tlb(...)}}));   // done when it returns
//
// InvalidationQueue if the unit has one, else RegisterInvalidation. Descriptors: descriptors.h; named operations:
// flush.h.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/result.h"
#include "base/types.h"
#include "iommu/iommu_pages.h"
#include "iommu/vtd/registers.h"

namespace causeway::iommu::vtd {

// Built for the wide form; the narrow one is its first two words.
using QueueDescriptor = hw::vtd::WideDescriptor;

struct InvalidatorOptions {
  bool wide = false;  // 256-bit descriptors: must be in scalable mode
  // Is the function still there? Asked when its device-TLB does not answer. Null: always.
  std::function<bool(Bdf)> is_present;
};

struct InvalidatorStats {
  uint64_t submissions = 0;
  uint64_t descriptors = 0;  // waits not counted
  uint64_t aborted = 0;      // submissions made again after a time-out of a device
  uint64_t errors = 0;       // descriptors the hardware refused
  uint64_t timeouts = 0;     // of devices
};

class Invalidator {
 public:
  // Errors of IommuPages and UnitRegisters. A queue that an old kernel left is stopped first.
  static Result<std::unique_ptr<Invalidator>> create(UnitRegisters& regs, IommuPages& pages,
                                                     InvalidatorOptions options);
  virtual ~Invalidator() = default;

  // Returns when all of it is done: everything it names is invalidated, in order. Any number of threads; a submission
  // is not interleaved with another's. Errors, none of which stops the others':
  //   EINVAL      the hardware refused a descriptor; the rest of the submission was carried out
  //   ETIMEDOUT   a device named in it is gone, or does not answer: all but its own descriptors were carried out; or
  //               the unit itself is silent: nothing is known
  //   EOPNOTSUPP  the unit has no such invalidation
  //   E2BIG       more than kMaxDescriptors
  static constexpr unsigned kMaxDescriptors = 254;
  virtual Status submit(std::span<const QueueDescriptor> descriptors) = 0;

  // Waits for what is under way, and stops. Later submissions are ENODEV. The memory is then free again.
  virtual Status disable() = 0;
  virtual InvalidatorStats stats() const = 0;
};

}  // namespace causeway::iommu::vtd
