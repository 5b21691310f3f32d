// Memory for entries: a page of them at a time, never given back, so that recording a mapping does not depend on the
// allocator's mood. As many as were reserved count as free from the start; they are made when first needed.
//
//   EntryPool pool(65536, max);
//   DebugEntry* entry = pool.take();   // null: out of memory
//   pool.put(entry);
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "dma/debug/entry.h"
#include "sync/spin_lock.h"

namespace causeway::dma {

class EntryPool {
 public:
  static constexpr uint64_t kPerPage = kPageSize / sizeof(DebugEntry);

  // More than `max_entries` are never made.
  EntryPool(uint64_t reserved, uint64_t max_entries) : reserved_(reserved), max_(max_entries), min_free_(reserved) {}

  DebugEntry* take();
  void put(DebugEntry* entry);

  uint64_t live() const { return live_.load(std::memory_order_relaxed); }
  uint64_t min_free() const { return min_free_.load(std::memory_order_relaxed); }
  uint64_t made() const;

 private:
  Status grow();

  const uint64_t reserved_;
  const uint64_t max_;
  mutable sync::SpinLock lock_{"dma.debug.pool"};
  DebugEntry* free_ CW_GUARDED_BY(lock_) = nullptr;
  uint64_t made_ CW_GUARDED_BY(lock_) = 0;
  std::vector<std::unique_ptr<DebugEntry[]>> pages_ CW_GUARDED_BY(lock_);
  // Written under the lock, read by anybody.
  std::atomic<uint64_t> live_{0};
  std::atomic<uint64_t> min_free_;
};

}  // namespace causeway::dma
