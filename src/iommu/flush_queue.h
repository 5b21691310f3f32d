// Deferred unmaps: addresses wait until an IOTLB flush that began after their unmap has ended, and one flush serves many
// (the flush queues of drivers/iommu/dma-iommu.c).
//
//   auto queue = CW_TRY(FlushQueue::create(domain, iovas, {}));
//   domain.unmap(iova, size, gather);       // gather.queued: not flushed
//   queue->add(pfn, pages, std::move(gather.freed));   // address and tables are freed some time later
//
// A ring for each CPU with 256 entries, flushed when one is full or 10 ms after an unmap; or, where a flush is expensive
// (`single`), one ring of 32768 entries and a second. The rules of reuse are in flush_queue.cc. Thread-safe; add() may
// flush but does not sleep.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "iommu/delayed_work.h"
#include "iommu/domain.h"
#include "iommu/iova.h"
#include "sync/spin_lock.h"

namespace causeway::iommu {

class FlushQueue {
 public:
  static constexpr size_t kEntries = 256;          // one less can be in use
  static constexpr uint64_t kTimeoutMs = 10;
  static constexpr size_t kSingleEntries = 32768;
  static constexpr uint64_t kSingleTimeoutMs = 1000;
  struct Options {
    bool single = false;
    uint64_t timeout_ms = 0;  // 0: as above
  };
  // ENOMEM. Domain and allocator outlive the queue.
  static Result<std::unique_ptr<FlushQueue>> create(Domain& domain, IovaDomain& iovas, const Options& options);
  // Flushes and frees what is left.
  ~FlushQueue();

  // The range has been unmapped just now, and these tables with it.
  void add(uint64_t pfn, uint64_t pages, FreeList&& tables = {});
  // Flushes and frees what was added before; all of it, unless another flush is under way.
  void drain();

  struct Stats {
    uint64_t queued = 0;
    uint64_t flushes = 0;  // ended
  };
  Stats stats() const;

 private:
  struct Entry {
    uint64_t pfn;
    uint64_t pages;
    uint64_t counter;  // flushes begun when it was added
    FreeList tables;
  };
  struct alignas(64) Ring {
    mutable sync::SpinLock lock{"iommu.flush_queue"};
    std::vector<Entry> entries CW_GUARDED_BY(lock);
    size_t head CW_GUARDED_BY(lock) = 0;
    size_t used CW_GUARDED_BY(lock) = 0;
  };
  FlushQueue(Domain& domain, IovaDomain& iovas, const Options& options);
  void flush();
  void reap(Ring& ring, std::vector<FreeList>& tables) CW_REQUIRES(ring.lock);
  void free(std::vector<FreeList>& tables);

  Domain& domain_;
  IovaDomain& iovas_;
  std::atomic<uint64_t> begun_{0};
  std::atomic<uint64_t> ended_{0};
  std::vector<Ring> rings_;
  DelayedWork timer_;  // last: it uses all of the above
};

}  // namespace causeway::iommu
