// The kernel's IOMMUs: their driver, the core, the domains that the DMA API uses, and what of all that is handed over.
//
//   auto remapping = CW_TRY(DmaRemapping::start(platform, allocator, kho, dma, params.iommu));   // may be null: there is none
//   dma::IommuDma* iommu = CW_TRY(remapping->probe(function));   // null: the device is not behind one
//   ...
//   CW_TRY(remapping->preserve(bdf));                            // before its driver preserves what is mapped
//   CW_TRY(remapping->publish());
//   kho.commit(...);
//   remapping->handover_committed();
//   ...
//   remapping->shutdown();                                       // the last step before the jump
//
// What an old kernel handed over is taken over as it is: units go on translating, by the old tables, from its last
// instruction to this kernel's, and the devices' bus addresses stay what they were. So a predecessor's choice
// overrides this kernel's command line: with translated devices handed over the IOMMU is on, with untranslated ones off.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "dma/dma.h"
#include "dma/iommu/iommu_dma.h"
#include "kho/kho.h"
#include "platform/platform.h"

namespace causeway::kernel {

// Mistakes a kernel can make with its IOMMU in a live update, made on purpose: for negative controls.
enum class IommuSabotage : uint8_t {
  kNone,
  kDropContext,   // context tables are not preserved
  kReuseDid,      // the next kernel forgets which domain ids are in use
  kTeOff,         // translation is switched off before the jump, as Linux 7.3 does
  kSkipFlush,     // the IOTLB is not told of unmaps
  kStaleRestore,  // a restored table has an older translation in it
};

struct IommuOptions {
  bool enabled = true;  // where the machine has units
  bool scalable = true;  // where they can
  bool passthrough = false;
  bool strict = false;
  bool forcedac = false;
  IommuSabotage sabotage = IommuSabotage::kNone;
};
// False: no such mode.
bool set_iommu_sabotage(IommuOptions& options, std::string_view mode);

struct DmaRemappingStats {
  unsigned units = 0;
  unsigned devices = 0;            // translated
  unsigned restored_devices = 0;   // of them, translated since before this kernel
  unsigned restored_domains = 0;
  uint64_t table_pages = 0;
  std::vector<std::string> damage;  // what the predecessor left and could not be taken over
  std::vector<std::string> faults;  // the last few
  uint64_t fault_count = 0;
};

class DmaRemapping {
 public:
  struct Environment {
    platform::Platform& platform;
    mm::PageAllocator& allocator;
    kho::Kho& kho;
    dma::Dma& dma;
    bool devices_were_handed_over;  // some device runs on from before this kernel
  };
  // Null: the machine has no units, or they are off. ENOMEM. A damaged handover is no error: see damage.
  static Result<std::unique_ptr<DmaRemapping>> start(const Environment& environment, const IommuOptions& options);
  ~DmaRemapping();  // a kernel's death: no hardware is touched

  // The mappings of a device, for its driver; null: it is not behind a unit, or its domain is the identity. EIO: the old
  // kernel handed it over and it could not be taken over: it goes on as it was, and nobody drives it.
  Result<dma::IommuDma*> probe(const platform::PciFunction& function);

  // The device's domain, unit and entries become part of the standing handover. EOPNOTSUPP: it cannot.
  Status preserve(Bdf bdf);
  void unpreserve(Bdf bdf);
  Status publish();  // before Kho::commit()
  // After it, and after every driver has adopted: domains can grow again, and what nobody claimed is unmapped.
  void handover_committed();
  // Everything that was not preserved is not translated any more; what was goes on. undo: the jump did not happen.
  void shutdown();
  void undo_shutdown();

  DmaRemappingStats stats() const;

 private:
  struct State;
  explicit DmaRemapping(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace causeway::kernel
