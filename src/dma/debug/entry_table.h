// The entries of all live mappings: 16384 buckets by bus address in units of 8 KiB, a lock each.
//
//   table.insert(entry);
//   if (DebugEntry* entry = table.take(wanted)) ...              // no longer in the table: the caller's
//   table.with_match(wanted, [](DebugEntry& entry) { ... });     // under the bucket's lock
//
// Several entries may have one address for a moment, since the record of an unmap goes after the address was given to
// somebody else. A match is therefore the best fit by size, type, direction and list length, the oldest first; if several
// are at the address and none fits perfectly, none is a match.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "dma/debug/entry.h"
#include "sync/spin_lock.h"

namespace causeway::dma {

class EntryTable {
 public:
  static constexpr unsigned kBuckets = 16384;
  static constexpr unsigned kShift = 13;

  EntryTable() : buckets_(new Bucket[kBuckets]) {}

  void insert(DebugEntry* entry);
  DebugEntry* take(const DebugMapping& wanted);

  // False: no match. The function runs with the bucket locked.
  template <typename Function>
  bool with_match(const DebugMapping& wanted, Function&& function) {
    Bucket& bucket = bucket_of(wanted.address.value());
    sync::SpinLockGuard guard(bucket.lock);
    DebugEntry** link = bucket.match(wanted);
    if (link == nullptr) return false;
    function(**link);
    return true;
  }

  // The same for the mapping that contains [wanted.address, + wanted.size); failing that, one that contains its first byte.
  template <typename Function>
  bool with_containing(const DebugMapping& wanted, Function&& function) {
    return visit_containing(wanted, true, function) || visit_containing(wanted, false, function);
  }

  // The first entry of this device and address that still owes a mapping_error().
  void mark_checked(const DebugDevice* device, DmaAddr address);

  // All entries of a device, chained by `next`.
  DebugEntry* take_all(const DebugDevice* device);

  template <typename Function>
  void for_each(Function&& function) {
    for (unsigned i = 0; i < kBuckets; ++i) {
      Bucket& bucket = buckets_[i];
      sync::SpinLockGuard guard(bucket.lock);
      for (DebugEntry* entry = bucket.head; entry != nullptr; entry = entry->next) function(*entry);
    }
  }

 private:
  struct Bucket {
    sync::SpinLock lock{"dma.debug.bucket"};
    DebugEntry* head CW_GUARDED_BY(lock) = nullptr;
    DebugEntry* tail CW_GUARDED_BY(lock) = nullptr;

    // The link that points to the match; null: none.
    DebugEntry** match(const DebugMapping& wanted) CW_REQUIRES(lock);
    DebugEntry* unlink(DebugEntry** link) CW_REQUIRES(lock);
  };
  Bucket& bucket_of(uint64_t address) { return buckets_[address >> kShift & (kBuckets - 1)]; }

  // A mapping lies in the bucket of its first byte, so it may be some buckets back: as many as the longest one ever
  // recorded covers.
  template <typename Function>
  bool visit_containing(const DebugMapping& wanted, bool whole, Function&& function) {
    uint64_t unit = wanted.address.value() >> kShift;
    uint64_t back = longest_.load(std::memory_order_relaxed) >> kShift;
    if (back >= kBuckets - 1) back = kBuckets - 2;
    for (uint64_t i = 0; i <= back + 1; ++i) {
      Bucket& bucket = bucket_of((unit - i) << kShift);
      sync::SpinLockGuard guard(bucket.lock);
      for (DebugEntry* entry = bucket.head; entry != nullptr; entry = entry->next) {
        if (entry->device != wanted.device || entry->address > wanted.address) continue;
        if (whole ? entry->end() < wanted.end() : entry->end() <= wanted.address.value()) continue;
        function(*entry);
        return true;
      }
      if (i == unit) break;
    }
    return false;
  }

  std::unique_ptr<Bucket[]> buckets_;
  std::atomic<uint64_t> longest_{0};
};

}  // namespace causeway::dma
