// The kernel command line: `name=value` words, as Linux has it.
//
//   BootParams params = CW_TRY(parse_command_line("kho=on kho_scratch=16M,32M,0 dma_engine.rate=2000"));
//
//   kho=on|off                  kexec handover (default on)
//   kho_scratch=N% | L,G,N      sizes of the scratch areas
//   kho_format=v4|typed         format of the outgoing handover
//   liveupdate=on|off           /dev/liveupdate (default on)
//   check_pages=on|off          the page allocator's checks at alloc and free
//   swiotlb=SLOTS[,AREAS][,force] | off   bounce buffers, of 2 KiB each
//   coherent_pool=BYTES         size of each atomic pool at first
//   dma_debug=on|off            watch drivers' use of the DMA API (default off)
//   intel_iommu=on|off|sm_on|sm_off   DMA remapping (default on where the machine has units); scalable mode where they have it
//   iommu.passthrough=0|1       default domains are identity: nothing is translated, and nothing translated can be handed over
//   iommu.strict=0|1            default domains are flushed at every unmap instead of now and then
//   iommu.forcedac=0|1          bus addresses below 4 GiB are not preferred
//   no_handover=BDF[,BDF...]    devices that stay behind at a live update
//   memory_pressure=N           pages that the memory pressure thread holds (0: none)
//   ballast=N                   DMA allocations of 4 KiB that are preserved too (benchmarks)
//   dma_engine.ring=N           stream buffers (power of two)
//   dma_engine.buffer=BYTES     size of one
//   dma_engine.rate=N           records per second
//   dma_engine.overrun=drop|hold  what the device does when no buffer is posted
//   dma_engine.width=32|40|64   bits of DMA address
//   dma_engine.recycle=N        buffers exchanged after a live update
//   nvme.file=BYTES             a file is written to the namespace and read back, for ever; it overwrites what is there
//   nvme.depth=N                commands in flight in each queue
//   nvme.queues=N               queue pairs
//   nvme.io=BYTES               size of the workload's commands
//   nvme.sgl=on|off             scatter-gather lists where they pay
//   nvme.poll=on|off            no interrupts
//   sabotage=MODE               skip-preserve, early-free, short-preserve, wrong-refcount, stop-device, drop-in-flight,
//                               replay-in-flight; of the IOMMU: drop-context, reuse-did, te-off, skip-flush, stale-restore
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "dma/dma.h"
#include "drivers/dma_engine.h"
#include "drivers/nvme/nvme.h"
#include "kernel/dma_remapping.h"
#include "kho/kho.h"

namespace causeway::kernel {

struct BootParams {
  kho::KhoParams kho;
  bool liveupdate = true;
  bool check_pages = true;
  uint64_t memory_pressure_pages = 2048;
  uint64_t ballast = 0;
  dma::Config dma{.atomic_pools_grow = true};
  drivers::DmaEngineOptions dma_engine;
  drivers::nvme::NvmeOptions nvme;
  dma::LiveUpdateFaults dma_faults;
  IommuOptions iommu;
  std::vector<Bdf> no_handover;
  std::string command_line;  // as given: the next kernel gets the same
};

// EINVAL: an unknown word or a bad value; `problem`, if given, names it.
Result<BootParams> parse_command_line(std::string_view text, std::string* problem = nullptr);

}  // namespace causeway::kernel
