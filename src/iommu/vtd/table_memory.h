// Entries of root, context and PASID tables: how they are written while the hardware may read them.
//
//   TableMemory memory(pages, caps.coherent() ? nullptr : flush_cache_lines);
//   memory.publish(entry, encode(context));      // every word, the one that says "present" last
//   memory.retire(entry);                        // not present; the rest as it was. Flush the unit's caches, then:
//   memory.wipe<hw::vtd::PasidEntry>(entry);
//
// Words are 64 bits and change atomically. A unit that does not snoop (ECAP.C = 0) sees a write once its line has been
// flushed; that happens here, after every one. The owner of an entry is one thread at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "iommu/iommu_pages.h"

namespace causeway::iommu::vtd {

using TableWord = uint64_t;
inline constexpr TableWord kPresent = 1;  // of every kind of entry, in its first word

inline TableWord load_word(const TableWord* word) {
  return std::atomic_ref(const_cast<TableWord&>(*word)).load(std::memory_order_acquire);
}

// For addresses out of tables that nobody vouches for: virt() may be asked.
bool is_ram(IommuPages& pages, PhysAddr address);

class TableMemory {
 public:
  using FlushCache = std::function<void(const void* from, uint64_t bytes)>;
  // `flush_cache` null: the unit snoops.
  TableMemory(IommuPages& pages, FlushCache flush_cache) : pages_(pages), flush_cache_(std::move(flush_cache)) {}
  IommuPages& pages() const { return pages_; }

  template <typename Entry>
  static Entry read(const TableWord* words) {
    Entry entry;
    for (unsigned i = 0; i < sizeof(entry.w) / sizeof(entry.w[0]); ++i) entry.w[i] = load_word(words + i);
    return entry;
  }
  // The entry is not present, or its first word is the only one that changes.
  template <typename Entry>
  void publish(TableWord* words, const Entry& entry) {
    publish(words, entry.w, sizeof(entry.w) / sizeof(entry.w[0]));
  }
  void store(TableWord* word, TableWord value);  // one word of a live entry
  void retire(TableWord* words) { store(words, load_word(words) & ~kPresent); }
  template <typename Entry>
  void wipe(TableWord* words) {
    publish(words, Entry{});
  }
  // Zeroes of a new table, before it is linked.
  void flush(const void* from, uint64_t bytes) {
    if (flush_cache_) flush_cache_(from, bytes);
  }

 private:
  void publish(TableWord* words, const TableWord* values, unsigned count);
  IommuPages& pages_;
  const FlushCache flush_cache_;
};

}  // namespace causeway::iommu::vtd
