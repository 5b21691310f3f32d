// When may an address be used again? After a flush that began after the unmap. An entry carries the number of flushes
// begun when it was added, c; it is free once more than c flushes have ended. Of c + 1 flushes that have ended at most c
// can have begun before the entry was there, so one at least began later, whichever order concurrent flushes end in.
//
// That needs the unmap to be visible before the counter is read, and the counter to be raised before the flush: both
// are full barriers.

#include "iommu/flush_queue.h"

#include <algorithm>
#include <chrono>
#include <new>

#include "base/point.h"

namespace causeway::iommu {

using sync::SpinLockGuard;

namespace {

std::chrono::milliseconds timeout(const FlushQueue::Options& options) {
  if (options.timeout_ms != 0) return std::chrono::milliseconds(options.timeout_ms);
  return std::chrono::milliseconds(options.single ? FlushQueue::kSingleTimeoutMs : FlushQueue::kTimeoutMs);
}

}  // namespace

FlushQueue::FlushQueue(Domain& domain, IovaDomain& iovas, const Options& options)
    : domain_(domain),
      iovas_(iovas),
      rings_(options.single ? 1 : mm::kCpuSlots),
      timer_("iommu.flush", timeout(options), [this] {
        drain();
        // While another flush was under way, what was added since then is not free yet.
        if (stats().queued != 0) timer_.arm();
      }) {
  for (Ring& ring : rings_) {
    SpinLockGuard guard(ring.lock);
    ring.entries.resize(options.single ? kSingleEntries : kEntries);
  }
}

Result<std::unique_ptr<FlushQueue>> FlushQueue::create(Domain& domain, IovaDomain& iovas, const Options& options) {
  CW_FAIL_POINT("iommu.flush_queue.create");
  return std::unique_ptr<FlushQueue>(new FlushQueue(domain, iovas, options));
}

FlushQueue::~FlushQueue() { drain(); }

void FlushQueue::flush() {
  begun_.fetch_add(1, std::memory_order_seq_cst);
  domain_.flush_all();
  ended_.fetch_add(1, std::memory_order_seq_cst);
}

// Frees addresses; tables are for the caller to free without the lock, since that may sleep.
void FlushQueue::reap(Ring& ring, std::vector<FreeList>& tables) {
  const uint64_t ended = ended_.load(std::memory_order_acquire);
  while (ring.used != 0) {
    Entry& oldest = ring.entries[ring.head];
    if (oldest.counter >= ended) return;
    if (!oldest.tables.empty()) tables.push_back(std::move(oldest.tables));
    iovas_.free_fast(oldest.pfn, oldest.pages);
    if (++ring.head == ring.entries.size()) ring.head = 0;
    --ring.used;
  }
}

void FlushQueue::free(std::vector<FreeList>& tables) {
  for (FreeList& list : tables) domain_.free_tables(list);
}

void FlushQueue::add(uint64_t pfn, uint64_t pages, FreeList&& tables) {
  std::vector<FreeList> freed;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  {
    Ring& ring = rings_[rings_.size() == 1 ? 0 : mm::cpu_slot()];
    SpinLockGuard guard(ring.lock);
    reap(ring, freed);
    // Once for every flush of others that has begun and not ended, and once more: until then nothing here is free.
    while (ring.used == ring.entries.size() - 1) {
      flush();
      reap(ring, freed);
    }
    size_t tail = ring.head + ring.used;
    if (tail >= ring.entries.size()) tail -= ring.entries.size();
    ring.entries[tail] = {pfn, pages, begun_.load(std::memory_order_seq_cst), std::move(tables)};
    ++ring.used;
  }
  free(freed);
  timer_.arm();
}

void FlushQueue::drain() {
  flush();
  std::vector<FreeList> freed;
  for (Ring& ring : rings_) {
    SpinLockGuard guard(ring.lock);
    reap(ring, freed);
  }
  free(freed);
}

FlushQueue::Stats FlushQueue::stats() const {
  Stats stats{.flushes = ended_.load(std::memory_order_acquire)};
  for (const Ring& ring : rings_) {
    SpinLockGuard guard(ring.lock);
    stats.queued += ring.used;
  }
  return stats;
}

}  // namespace causeway::iommu
