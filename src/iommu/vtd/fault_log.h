// Faults a unit records: read when its fault event fires, told in words, cleared (spec 2.7).
//
//   auto faults = CW_TRY(FaultLog::create(regs, interrupts, [&](const FaultReport& fault) { tell(fault); }));
//
// `report` runs on the interrupt thread, once for each record. Nothing is done about a fault but that.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/result.h"
#include "iommu/driver.h"
#include "iommu/vtd/registers.h"
#include "platform/interrupts.h"
#include "sync/mutex.h"

namespace causeway::iommu::vtd {

// "the pasid entry is not present"
const char* describe_fault_reason(uint8_t reason);

class FaultLog {
 public:
  using Report = std::function<void(const FaultReport&)>;
  // Records that were made before, by an old kernel's devices, are reported too. ENOSPC: no vector is left.
  static Result<std::unique_ptr<FaultLog>> create(UnitRegisters& regs, platform::Interrupts& interrupts, Report report);
  // Gives the vector back; the unit's registers stay as they are, unless stop() was called.
  ~FaultLog();
  // Masks the event: no interrupt comes any more.
  void stop();

  // What the interrupt does. Returns how many records there were.
  unsigned handle();
  struct Stats {
    uint64_t faults = 0;
    uint64_t overflows = 0;  // times that records were lost
  };
  Stats stats() const;

 private:
  FaultLog(UnitRegisters& regs, platform::Interrupts& interrupts, uint8_t vector, Report report);
  UnitRegisters& regs_;
  platform::Interrupts& interrupts_;
  const uint8_t vector_;
  const Report report_;
  mutable sync::Mutex mutex_{"iommu.vtd.faults"};
  Stats stats_ CW_GUARDED_BY(mutex_);
};

}  // namespace causeway::iommu::vtd
