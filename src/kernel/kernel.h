// One boot of the stack: composes platform, memory, KHO, DMA and drivers, cold or warm.
//
//   auto kernel = CW_TRY(Kernel::boot(machine.connect(), params));
//   KernelStatus status = kernel->status();
//   kernel.reset();                                              // it dies; the machine runs on
//   kernel = CW_TRY(Kernel::boot(machine.connect(), params));    // and the next one takes over
//
// Boot, in order: attach -> boot memory -> KHO reads the handover -> page allocator -> LUO -> DMA -> IOMMU -> drivers
// of what was handed over -> commit -> drivers of the rest. A handover that cannot be read makes it a cold boot, and a cold boot first takes every device off
// the bus: they may be writing to memory that is about to be handed out.
//
// kexec: preflight() the target; freeze(); execve(); if that fails, thaw(). Between processes the
// server room does it, in one process the example above is all there is to it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "dma/dma.h"
#include "drivers/dma_engine.h"
#include "drivers/nvme/nvme.h"
#include "kernel/boot_params.h"
#include "kernel/dma_remapping.h"
#include "kho/kho.h"
#include "luo/orchestrator.h"
#include "memfd/client_memory.h"
#include "memfd/frozen_files.h"
#include "mm/page_allocator.h"
#include "platform/platform.h"
#include "uapi/devices.h"

namespace causeway::kernel {

enum class BootKind : uint8_t {
  kCold,            // nothing was handed over
  kKexec,           // an orderly live update
  kTakeover,        // the predecessor died; its standing handover was taken
  kColdAfterDamage, // a handover was there and could not be used
};
const char* name_of(BootKind kind);

struct KernelStatus {
  std::string release;
  uint32_t generation = 0;
  BootKind boot = BootKind::kCold;
  std::string command_line;
  uint64_t boot_ns = 0;              // from entering boot() to drivers started
  uint64_t commit_ns = 0;            // from entering boot() to the new handover being published
  kho::KhoStats kho;
  mm::PageStats pages;
  dma::DmaStats dma;
  DmaRemappingStats iommu;
  luo::Stats luo;
  std::vector<std::pair<std::string, drivers::DmaEngineStats>> engines;  // by BDF
  std::vector<std::pair<std::string, drivers::nvme::NvmeStats>> nvmes;
  std::vector<std::string> driver_errors;  // devices that could not be driven, with the reason
  uint64_t pressure_rounds = 0;      // memory pressure: blocks taken, filled, checked and given back
  uint64_t pressure_damaged = 0;     // of them, found written to by somebody else
  std::vector<std::string> problems; // what makes this generation's integrity doubtful; empty: nothing
};

class Kernel {
 public:
  // `machine`: a connected control socket. Errors: those of attach; ENOMEM; never because of a bad handover.
  static Result<std::unique_ptr<Kernel>> boot(UniqueFd machine, const BootParams& params);
  ~Kernel();  // dies: threads end, nothing else is touched

  // The last step before the jump: sessions are frozen and handed over, drivers stop consuming, the handover is
  // published as orderly. A file that refuses to be frozen: its error, and all goes on as before.
  Status freeze();
  // The jump did not happen: goes on as before.
  void thaw();
  // Ends what drivers do of their own accord, and waits until nothing of it is in flight. ETIMEDOUT.
  Status drain();
  // Orderly end without a successor: devices stop, memory is freed, the mailbox is erased.
  void shutdown();

  KernelStatus status() const;
  // The compatible string of the handover this kernel publishes.
  const char* handover_format() const;

  platform::Platform& platform();
  mm::PageAllocator& allocator();
  kho::Kho& kho();
  memfd::ClientMemory& client_memory();
  memfd::FrozenFiles& frozen_files();
  dma::Dma& dma();
  luo::Orchestrator& luo();
  // What programs can open.
  uapi::Devices& devices();

 private:
  struct State;
  explicit Kernel(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace causeway::kernel
