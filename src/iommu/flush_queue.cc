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

void FlushQueue::reap(Ring& ring) {
  const uint64_t ended = ended_.load(std::memory_order_acquire);
  while (ring.used != 0) {
    const Entry& oldest = ring.entries[ring.head];
    if (oldest.counter >= ended) return;
    iovas_.free_fast(oldest.pfn, oldest.pages);
    if (++ring.head == ring.entries.size()) ring.head = 0;
    --ring.used;
  }
}

void FlushQueue::add(uint64_t pfn, uint64_t pages) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  {
    Ring& ring = rings_[rings_.size() == 1 ? 0 : mm::cpu_slot()];
    SpinLockGuard guard(ring.lock);
    reap(ring);
    if (ring.used == ring.entries.size() - 1) {
      flush();
      reap(ring);
    }
    size_t tail = ring.head + ring.used;
    if (tail >= ring.entries.size()) tail -= ring.entries.size();
    ring.entries[tail] = {pfn, pages, begun_.load(std::memory_order_seq_cst)};
    ++ring.used;
  }
  timer_.arm();
}

void FlushQueue::drain() {
  flush();
  for (Ring& ring : rings_) {
    SpinLockGuard guard(ring.lock);
    reap(ring);
  }
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
