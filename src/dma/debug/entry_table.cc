#include "dma/debug/entry_table.h"

namespace causeway::dma {

void EntryTable::insert(DebugEntry* entry) {
  uint64_t longest = longest_.load(std::memory_order_relaxed);
  while (entry->size > longest && !longest_.compare_exchange_weak(longest, entry->size, std::memory_order_relaxed)) {
  }
  entry->next = nullptr;
  Bucket& bucket = bucket_of(entry->address.value());
  sync::SpinLockGuard guard(bucket.lock);
  (bucket.tail != nullptr ? bucket.tail->next : bucket.head) = entry;
  bucket.tail = entry;
}

DebugEntry** EntryTable::Bucket::match(const DebugMapping& wanted) {
  DebugEntry** best = nullptr;
  unsigned matches = 0;
  for (DebugEntry** link = &head; *link != nullptr; link = &(*link)->next) {
    if (!is_exact(wanted, **link)) continue;
    if (likeness(wanted, **link) == kPerfectFit) return link;
    best = link;
    ++matches;
  }
  return matches == 1 ? best : nullptr;
}

DebugEntry* EntryTable::Bucket::unlink(DebugEntry** link) {
  DebugEntry* entry = *link;
  *link = entry->next;
  if (tail == entry) {
    tail = head;
    while (tail != nullptr && tail->next != nullptr) tail = tail->next;
  }
  return entry;
}

DebugEntry* EntryTable::take(const DebugMapping& wanted) {
  Bucket& bucket = bucket_of(wanted.address.value());
  sync::SpinLockGuard guard(bucket.lock);
  DebugEntry** link = bucket.match(wanted);
  return link != nullptr ? bucket.unlink(link) : nullptr;
}

void EntryTable::mark_checked(const DebugDevice* device, DmaAddr address) {
  Bucket& bucket = bucket_of(address.value());
  sync::SpinLockGuard guard(bucket.lock);
  for (DebugEntry* entry = bucket.head; entry != nullptr; entry = entry->next) {
    if (entry->device != device || entry->address != address || entry->check != ErrorCheck::kOwed) continue;
    entry->check = ErrorCheck::kDone;
    return;
  }
}

DebugEntry* EntryTable::take_all(const DebugDevice* device) {
  DebugEntry* taken = nullptr;
  for (unsigned i = 0; i < kBuckets; ++i) {
    Bucket& bucket = buckets_[i];
    sync::SpinLockGuard guard(bucket.lock);
    for (DebugEntry** link = &bucket.head; *link != nullptr;) {
      if ((*link)->device != device) {
        link = &(*link)->next;
        continue;
      }
      DebugEntry* entry = bucket.unlink(link);
      entry->next = taken;
      taken = entry;
    }
  }
  return taken;
}

}  // namespace causeway::dma
