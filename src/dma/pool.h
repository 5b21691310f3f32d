// Memory set aside for DMA: the atomic pools, from which a caller that may not sleep is served when
// its memory needs another mapping; and the reserved ranges of devices that may use nothing else.
//
//   auto pool = CW_TRY(PagePool::create(allocator, KiB(128)));
//   PhysAddr block = CW_TRY(pool->alloc(2, 2));      // pages, alignment in pages
//   bool mine = pool->free(block, 2);                // false: not of this pool
//
//   AtomicPools pools(allocator, KiB(128));
//   PhysAddr block = CW_TRY(pools.alloc(KiB(8), limit));
//
// Pool memory has been made shared and uncached when the pool was made, once and for all; handing it out
// needs no mapping. It belongs to the pool, not to the caller: it cannot be preserved. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "mm/page_allocator.h"
#include "sync/guarded.h"

namespace causeway::dma {

// A contiguous range with a bitmap of its pages; first fit.
class PagePool {
 public:
  // One block of get_order(size), below `limit`. ENOMEM; EINVAL: size 0.
  static Result<std::unique_ptr<PagePool>> create(mm::PageAllocator& allocator, uint64_t size,
                                                  PhysAddr limit = PhysAddr{~uint64_t{0}});
  // A pool lives as long as its kernel: its pages are never given back.
  ~PagePool() = default;

  // Contents are as found. `alignment` is a power of two and relative to physical address 0. ENOMEM.
  Result<PhysAddr> alloc(uint64_t pages, uint64_t alignment);
  // False if the range is not wholly inside the pool, or not wholly allocated: nothing is changed then.
  bool free(PhysAddr base, uint64_t pages);

  bool contains(PhysAddr base, uint64_t size) const;
  PfnRange range() const { return range_; }
  uint64_t free_pages() const;

 private:
  explicit PagePool(PfnRange range);
  PfnRange range_;
  sync::Guarded<std::vector<bool>> used_;
};

// The three atomic pools (kernel/dma/pool.c): below 16 MiB, below 4 GiB, anywhere. One that cannot be made
// is missing. They do not grow: an exhausted pool is ENOMEM until somebody frees.
class AtomicPools {
 public:
  AtomicPools(mm::PageAllocator& allocator, uint64_t size_each);

  // Whole pages, the last byte at or below `limit`. From the highest pool that can satisfy it. ENOMEM.
  Result<PhysAddr> alloc(uint64_t size, PhysAddr limit);
  bool free(PhysAddr base, uint64_t size);
  // Does [base, base + size) lie in one of the pools (dma_is_from_pool)?
  bool contains(PhysAddr base, uint64_t size) const;
  uint64_t free_pages() const;

 private:
  std::vector<std::unique_ptr<PagePool>> pools_;  // highest first
};

}  // namespace causeway::dma
