// DMA memory from CMA areas: one of the device, or the system's default one (kernel/dma/contiguous.c).
//
//   CW_TRY(set_cma_area(device, area));                       // everything of this device comes from there
//   Coherent frame = CW_TRY(alloc_coherent(device, MiB(12), kGfpKernel));
//
// Asked before the page allocator, by callers who may block: the device's area for any size, the default one
// (Config::cma_size) for more than a page. What the device cannot reach goes back, and the page allocator is asked. Pages are
// counted one by one and are not a block of the buddy: the allocation cannot be preserved.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "dma/device.h"
#include "mm/cma.h"
#include "sync/guarded.h"

namespace causeway::dma {

// Null: none any more; what was allocated there is still freed there. The area outlives its use. EINVAL: not active.
Status set_cma_area(Device& device, mm::CmaArea* area);

// Private to the room. One per kernel.
class Contiguous {
 public:
  explicit Contiguous(mm::PageAllocator& allocator) : allocator_(allocator) {}

  // The default area, of so many bytes, preferably below 4 GiB where most devices reach.
  Status create_default(uint64_t size);
  mm::CmaArea* default_area() { return default_; }
  void set_area(const Device& device, mm::CmaArea* area);

  // dma_alloc_contiguous: `pages` pages aligned to min(get_order, 8), that the device can reach; null: no area has them.
  mm::Page* alloc(const Device& device, uint64_t pages, mm::Gfp gfp);
  // False: not of any area.
  bool free(mm::Page* first, uint64_t pages);

 private:
  mm::Page* try_area(mm::CmaArea* area, const Device& device, uint64_t pages);
  mm::CmaArea* area_of(const Device& device) const;

  mm::PageAllocator& allocator_;
  mm::Cma cma_;
  mm::CmaArea* default_ = nullptr;
  struct Areas {
    std::map<uint64_t, mm::CmaArea*> by_device;  // by requester
    std::vector<mm::CmaArea*> ever;              // all that ever were anybody's
  };
  sync::Guarded<Areas> areas_{sync::LockName{"dma.cma_areas"}};
  std::atomic<bool> any_{false};
};

}  // namespace causeway::dma
