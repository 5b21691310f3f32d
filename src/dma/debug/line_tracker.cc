#include "dma/debug/line_tracker.h"

namespace causeway::dma {

LineTracker::Sharing LineTracker::insert(DebugEntry* entry) {
  Sharing sharing;
  if (!is_tracked(*entry)) return sharing;
  const uint64_t line = line_of(*entry);
  Chain& chain = chain_of(line);
  sync::SpinLockGuard guard(chain.lock);
  const DebugEntry* example = nullptr;
  for (const DebugEntry* other = chain.head; other != nullptr; other = other->line_next) {
    if (line_of(*other) != line) continue;
    ++sharing.others;
    bool clean = is_clean(other->attrs);
    if (example == nullptr || (!clean && sharing.all_clean)) example = other;
    sharing.all_clean &= clean;
  }
  // A copy: the other may be unmapped as soon as the lock is dropped.
  if (example != nullptr) sharing.other = *example;
  entry->line_next = chain.head;
  chain.head = entry;
  tracked_.fetch_add(1, std::memory_order_relaxed);
  return sharing;
}

void LineTracker::remove(const DebugEntry* entry) {
  if (!is_tracked(*entry)) return;
  Chain& chain = chain_of(line_of(*entry));
  sync::SpinLockGuard guard(chain.lock);
  for (DebugEntry** link = &chain.head; *link != nullptr; link = &(*link)->line_next) {
    if (*link != entry) continue;
    *link = entry->line_next;
    tracked_.fetch_sub(1, std::memory_order_relaxed);
    return;
  }
}

}  // namespace causeway::dma
