// Pages the device can reach, in ordinary cached memory: dma_alloc_pages() and its form with a CPU address.
//
//   DmaPages buffer = CW_TRY(alloc_pages(device, KiB(64), Direction::kFromDevice, kGfpKernel));
//   program(buffer.handle);  ...  sync_single_for_cpu(device, buffer.handle, ...)  ...
//   CW_TRY(free_pages(device, buffer, Direction::kFromDevice));
//
// The memory is not coherent, not even on a coherent device by contract: whoever uses it syncs. It is never remapped, and
// zeroed only with kZero; otherwise dma-debug fills it with its poison. Sizes are rounded up to pages.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "dma/direction.h"
#include "dma/dma.h"
#include "mm/page.h"

namespace causeway::dma {

struct DmaPages {
  mm::Page* page = nullptr;  // the first
  DmaAddr handle;
  uint64_t size = 0;  // bytes, whole pages
};

// EINVAL, with a warning: a coherent mask of 0, a zone in `gfp` (where memory lies follows from the mask), kComp; size 0. ENOMEM.
// EOPNOTSUPP: operations this subsystem does not have.
Result<DmaPages> alloc_pages(Device& device, uint64_t size, Direction direction, mm::Gfp gfp);
// EINVAL: not what alloc_pages() returned for this device: nothing is freed. Null is nothing.
Status free_pages(Device& device, const DmaPages& pages, Direction direction);

// The same by CPU address.
Result<Coherent> alloc_noncoherent(Device& device, uint64_t size, Direction direction, mm::Gfp gfp);
Status free_noncoherent(Device& device, const Coherent& memory, Direction direction);

}  // namespace causeway::dma
