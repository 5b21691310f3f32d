// Memory set aside for DMA: the atomic pools, from which a caller that may not sleep is served when
// its memory needs another mapping; and the reserved ranges of devices that may use nothing else.
//
//   auto pool = CW_TRY(PagePool::create(allocator, KiB(128)));
//   PhysAddr block = CW_TRY(pool->alloc(2, 2));      // pages, alignment in pages
//   bool mine = pool->free(block, 2);                // false: not of this pool
//
//   AtomicPools pools(allocator, KiB(128), {.grow = true});
//   PhysAddr block = CW_TRY(pools.alloc(KiB(8), limit));
//
// Pool memory has been made shared and uncached when the pool was made, once and for all; handing it out
// needs no mapping. It belongs to the pool, not to the caller: it cannot be preserved. Thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "mm/cma.h"
#include "mm/page_allocator.h"
#include "sync/guarded.h"
#include "sync/thread.h"
#include "sync/wait_queue.h"

namespace causeway::dma {

// A contiguous range with a bitmap of its pages; first fit.
class PagePool {
 public:
  // One block of get_order(size), below `limit`. ENOMEM; EINVAL: size 0.
  static Result<std::unique_ptr<PagePool>> create(mm::PageAllocator& allocator, uint64_t size,
                                                  PhysAddr limit = PhysAddr{~uint64_t{0}});
  // Of frames the caller has, for as long as the pool lives.
  static std::unique_ptr<PagePool> adopt(PfnRange range);
  // A pool lives as long as its kernel: its pages are never given back.
  ~PagePool() = default;

  // Contents are as found. `alignment` is a power of two and relative to physical address 0. ENOMEM.
  Result<PhysAddr> alloc(uint64_t pages, uint64_t alignment);
  // 2^order pages, aligned to as many from the start of the pool (bitmap_find_free_region). ENOMEM.
  Result<PhysAddr> alloc_region(Order order);
  // False if the range is not wholly inside the pool, or not wholly allocated: nothing is changed then.
  bool free(PhysAddr base, uint64_t pages);

  bool contains(PhysAddr base, uint64_t size) const;
  PfnRange range() const { return range_; }
  uint64_t free_pages() const;

 private:
  explicit PagePool(PfnRange range);
  Result<PhysAddr> take(uint64_t first, uint64_t pages, uint64_t step);
  PfnRange range_;
  sync::Guarded<std::vector<bool>> used_;
};

// Which memory an atomic pool is made of: below 16 MiB, below 4 GiB, anywhere.
enum class PoolZone : uint8_t { kDma, kDma32, kKernel };

// The three atomic pools (kernel/dma/pool.c). One that cannot be made is missing. With Options::grow a worker adds
// memory to a pool in which less than its first size is free, doubling it; it never shrinks. Without, an
// exhausted pool is ENOMEM until somebody frees.
class AtomicPools {
 public:
  struct Options {
    bool grow = false;
    mm::CmaArea* cma = nullptr;  // asked before the page allocator, for the zones it lies in
  };
  // `size_each` in bytes, at most one block of the largest order; 0: default_size().
  AtomicPools(mm::PageAllocator& allocator, uint64_t size_each, const Options& options);
  AtomicPools(mm::PageAllocator& allocator, uint64_t size_each) : AtomicPools(allocator, size_each, Options{}) {}
  ~AtomicPools();  // ends the worker

  // 128 KiB for each GiB of RAM, at least that and at most the largest block.
  static uint64_t default_size(uint64_t ram_pages);

  // May the caller use [base, base + size)?
  using Fits = std::function<bool(PhysAddr base, uint64_t size)>;
  // Whole pages, aligned to get_order(size), that `fits`. The pool of `zone` first, or the nearest to it there is; then
  // lower ones. ENOMEM: exhausted (warned of unless kNoWarn), or no pool.
  Result<PhysAddr> alloc(uint64_t size, PoolZone zone, const Fits& fits, mm::Gfp gfp);
  // The same with the last byte at or below `limit`, silently.
  Result<PhysAddr> alloc(uint64_t size, PhysAddr limit);
  bool free(PhysAddr base, uint64_t size);
  // Does [base, base + size) lie in one of the pools (dma_is_from_pool)?
  bool contains(PhysAddr base, uint64_t size) const;
  uint64_t free_pages() const;
  uint64_t pages() const;
  // Waits until the worker has done what was asked of it so far (tests).
  void settle();

  static PoolZone zone_for(PhysAddr limit);

 private:
  struct Pool {
    sync::Guarded<std::vector<std::unique_ptr<PagePool>>> chunks{sync::LockName{"dma.atomic_pool"}};
    std::atomic<uint64_t> pages{0};
    std::atomic<uint64_t> free{0};
  };
  static constexpr unsigned kPools = 3;

  static PhysAddr limit_of(unsigned pool);
  bool exists(unsigned pool) const { return pools_[pool].pages.load(std::memory_order_relaxed) != 0; }
  std::optional<unsigned> first_pool(PoolZone zone) const;
  std::optional<unsigned> next_pool(unsigned previous) const;
  std::optional<PhysAddr> alloc_from(unsigned pool, uint64_t size, const Fits& fits);
  // Adds about `size` bytes, or half of it, and so on. False: not a page.
  bool expand(unsigned pool, uint64_t size);
  std::unique_ptr<PagePool> make_chunk(unsigned pool, Order order);
  void request_growth(unsigned pool);
  void grow_until_stopped(const sync::StopToken& stop);

  mm::PageAllocator& allocator_;
  const Options options_;
  uint64_t base_size_;  // bytes
  std::array<Pool, kPools> pools_;  // by PoolZone
  std::atomic<uint64_t> requested_{0};
  std::atomic<uint64_t> served_{0};
  sync::WaitQueue wanted_{"dma.atomic_pool.wanted"};
  sync::WaitQueue done_{"dma.atomic_pool.done"};
  sync::Thread worker_;  // last: it uses everything above
};

}  // namespace causeway::dma
