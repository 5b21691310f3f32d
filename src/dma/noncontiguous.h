// Memory that is one range to the device and need not be one to the CPU (dma_alloc_noncontiguous).
//
//   Noncontiguous frame = CW_TRY(alloc_noncontiguous(device, MiB(8), Direction::kFromDevice, kGfpKernel, Attr::kNone));
//   program(frame.table.entries[0].dma_address);
//   void* pixels = CW_TRY(vmap_noncontiguous(device, frame));
//   ...
//   vunmap_noncontiguous(device, frame, pixels);
//   CW_TRY(free_noncontiguous(device, frame, Direction::kFromDevice));
//
// Behind an IOMMU: scattered pages with one contiguous range of bus addresses. Otherwise one segment of alloc_pages(). The memory
// is cached and not coherent; whoever uses it syncs, and flushes the mapping made by vmap.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "dma/attributes.h"
#include "dma/direction.h"
#include "dma/dma.h"
#include "dma/scatterlist.h"

namespace causeway::dma {

struct Noncontiguous {
  ScatterTable table;           // mapped == 1, whatever the number of entries: the CPU's segments
  std::vector<PhysAddr> pages;  // behind an IOMMU, in order of address; else empty
  uint64_t size = 0;            // bytes, whole pages
};

// EINVAL, with a warning: any attribute but kAllocSinglePages, kComp; also size 0 or of 4 GiB and more. ENOMEM.
Result<Noncontiguous> alloc_noncontiguous(Device& device, uint64_t size, Direction direction, mm::Gfp gfp, Attr attrs);
Status free_noncontiguous(Device& device, Noncontiguous& memory, Direction direction);

// One range of CPU addresses. ENOMEM.
Result<void*> vmap_noncontiguous(Device& device, const Noncontiguous& memory);
void vunmap_noncontiguous(Device& device, const Noncontiguous& memory, void* address);

}  // namespace causeway::dma
