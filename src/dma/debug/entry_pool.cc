#include "dma/debug/entry_pool.h"

#include <algorithm>
#include <new>
#include <utility>

#include "base/log.h"
#include "base/point.h"

namespace causeway::dma {

DebugEntry* EntryPool::take() {
  for (;;) {
    {
      sync::SpinLockGuard guard(lock_);
      if (free_ != nullptr) {
        DebugEntry* entry = std::exchange(free_, free_->next);
        uint64_t live = live_.load(std::memory_order_relaxed) + 1;
        live_.store(live, std::memory_order_relaxed);
        uint64_t spare = std::max(reserved_, made_) - live;
        if (spare < min_free_.load(std::memory_order_relaxed)) min_free_.store(spare, std::memory_order_relaxed);
        return entry;
      }
    }
    // Two threads may both grow: the second page is used later.
    if (!grow()) return nullptr;
  }
}

Status EntryPool::grow() {
  CW_FAIL_POINT("dma.debug.grow_pool");
  std::unique_ptr<DebugEntry[]> page(new (std::nothrow) DebugEntry[kPerPage]);
  if (!page) return fail(ENOMEM, "no memory for debug entries");
  sync::SpinLockGuard guard(lock_);
  if (made_ >= max_) return fail(ENOMEM, "no more debug entries allowed");
  uint64_t count = std::min(kPerPage, max_ - made_);
  for (uint64_t i = 0; i < count; ++i) {
    page[i].next = free_;
    free_ = &page[i];
  }
  // Told when it passes a multiple of what was reserved: somebody leaks.
  if (reserved_ != 0 && made_ >= reserved_ && (made_ + count) / reserved_ != made_ / reserved_)
    log::info("dma-debug", "the pool has grown to {} entries, {} were reserved", made_ + count, reserved_);
  made_ += count;
  pages_.push_back(std::move(page));
  return {};
}

void EntryPool::put(DebugEntry* entry) {
  sync::SpinLockGuard guard(lock_);
  entry->next = free_;
  free_ = entry;
  live_.store(live_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
}

uint64_t EntryPool::made() const {
  sync::SpinLockGuard guard(lock_);
  return made_;
}

}  // namespace causeway::dma
