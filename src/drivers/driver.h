// What the kernel asks of every driver, from its device's set-up or adoption to the handover to the next kernel.
//
//   auto driver = CW_TRY(DmaEngine::probe(context, function, options));   // set up, or adopt
//   CW_TRY(driver->preserve());          // everything the device may write to, and how the next kernel finds it
//   CW_TRY(driver->start());
//   driver->handover_committed();
//   ...
//   driver->freeze();                    // kexec: the device goes on
//
// A driver keeps its DMA memory preserved from the moment its device may use it, not only at kexec: a kernel can die at any
// instruction. Destroying a driver is a kernel's death: the device is left alone.
#pragma once

#include "base/result.h"
#include "dma/dma.h"
#include "kho/kho.h"
#include "platform/platform.h"

namespace causeway::dma {
class IommuDma;
}

namespace causeway::drivers {

struct DriverContext {
  platform::Platform& platform;
  dma::Dma& dma;
  kho::Kho& kho;
  // What the function's DMA goes through; null: memory itself. Outlives the driver. Of an adopted device it is a restored
  // one (IommuDma::is_restored()), or adoption is refused.
  dma::IommuDma* iommu = nullptr;
};

class Driver {
 public:
  virtual ~Driver() = default;

  // The device was running when this kernel came, and goes on.
  virtual bool adopted() const = 0;
  // Before start() of a device set up by this kernel; an adopted one may be started first, which shortens the
  // blackout, if it says so. Behind an IOMMU the domain has been preserved before. Errors: those of dma and kho.
  virtual Status preserve() = 0;
  // False for an adopted device whose start() maps memory: a restored domain takes nothing new before the commit.
  virtual bool may_start_before_commit() const { return true; }
  // Completions are consumed from here on.
  virtual Status start() = 0;
  // The handover that preserve() is part of has been committed: restored memory may be freed from now on.
  virtual void handover_committed() = 0;
  // Nothing is consumed any more when it returns; the device goes on.
  virtual void freeze() = 0;
  virtual void thaw() = 0;
  // Orderly end without a successor: stops the device, frees everything.
  virtual void shutdown() = 0;
  // Ends what the driver does of its own accord; nothing of it is in flight when it returns. ETIMEDOUT.
  virtual Status drain() { return {}; }
  // Called now and then. EBUSY: not now.
  virtual Status self_test() { return {}; }
};

}  // namespace causeway::drivers
